"""The penalised loss of a linear head: its value, its slopes and its curvature, all in double precision."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import check_labels, check_predictions

_NEGLIGIBLE = 1e-6  # change of an output


class HeadObjective:
    """``1/n·Σ_i ℓ(y_i, θx_i) + w/2·‖θ‖²``, softmax for several outputs and logistic for one.

    Args:
        features: (N, D) float64, the constant one of an intercept last.
        targets: (N, C) probabilities, or (N, 1) of class 1 of two.
        weight_decay: w.
        free_intercept: whether the last feature's weights are left out of the penalty.
    """

    def __init__(self, features: Tensor, targets: Tensor, weight_decay: float, *, free_intercept: bool) -> None:
        self.features, self.targets = features, targets
        self.weight_decay, self.free_intercept = weight_decay, free_intercept
        self.decay = torch.full_like(features[0], weight_decay)
        if free_intercept:
            self.decay[-1] = 0

    def probabilities(self, theta: Tensor) -> Tensor:
        """Return (N, C), or (N, 1) of class 1 of two."""
        outputs = self.features @ theta.T
        return outputs.sigmoid() if len(theta) == 1 else outputs.softmax(dim=1)

    def slopes(self, theta: Tensor) -> Tensor:
        """Return (N, C), the derivative of each sample's loss in its outputs."""
        return self.probabilities(theta) - self.targets

    def gradient(self, theta: Tensor) -> Tensor:
        """Return (C, D)."""
        return self.slopes(theta).T @ self.features / len(self.features) + self.decay * theta

    def value(self, theta: Tensor) -> float:
        """Return the penalised loss in nats."""
        outputs = self.features @ theta.T
        normaliser = F.softplus(outputs).squeeze(1) if len(theta) == 1 else outputs.logsumexp(dim=1)
        loss = (normaliser - (outputs * self.targets).sum(dim=1)).mean()
        return (loss + (self.decay * theta.square()).sum() / 2).item()

    def residual(self, theta: Tensor) -> float:
        """Return the length of the gradient, relative to that of the penalty's, which it balances at the minimum.

        Penalised weights that change outputs by less than a millionth count as ones that change them by that much, so
        that a minimum at zero can be told from rounding.
        """
        length = self.gradient(theta).norm().item()
        if length == 0:
            return 0.0
        typical = self.features.square().sum(dim=1).mean().sqrt().item()
        smallest = _NEGLIGIBLE / typical if typical > 0 else 0.0
        size = self.weight_decay * max(theta[:, self.decay > 0].norm().item(), smallest)
        return length / size if size > 0 else math.inf

    def curvature_product(self, probabilities: Tensor, direction: Tensor) -> Tensor:
        """Return the Hessian times a direction (C, D).

        Args:
            probabilities: at the point where the Hessian is taken.
            direction: (C, D).
        """
        change = probabilities * (self.features @ direction.T)
        if len(direction) == 1:
            change = change * (1 - probabilities)
        else:
            change = change - probabilities * change.sum(dim=1, keepdim=True)
        return change.T @ self.features / len(self.features) + self.decay * direction


def with_constant(features: Tensor) -> Tensor:
    """Return the features with a last one that is 1 for every sample.

    Args:
        features: (N, D).
    """
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def read_targets(labels: Tensor, samples: int, outputs: int) -> Tensor:
    """Return the probabilities (N, C) that a head is fitted to, float64.

    Args:
        labels: (N,) class numbers, or (N, C) probabilities.
        samples: N.
        outputs: C, or 1 for the log-odds of class 1 of two.

    Raises:
        ValueError: if shape or values do not fit.
        TypeError: if the dtype is neither int64 nor floating point.
    """
    if labels.is_floating_point():
        if labels.shape != (samples, outputs) or outputs == 1:
            raise ValueError(
                f"labels that are probabilities must have shape ({samples}, {max(outputs, 2)}) and a head of as many "
                f"outputs, got shape {tuple(labels.shape)} and {outputs} outputs"
            )
        return check_predictions(probs=labels).detach().double()
    check_labels(labels, samples, max(outputs, 2))
    if outputs == 1:
        return labels.double()[:, None]
    return F.one_hot(labels, outputs).double()
