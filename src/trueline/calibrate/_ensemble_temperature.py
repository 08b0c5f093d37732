"""Ensemble temperature scaling, by Zhang, Kailkhura and Han (2020)."""

import itertools
import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_few_rows
from trueline.calibrate._multinomial import best_temperature
from trueline.contracts import Calibrator, Reference, method

_STEPS, _HALVINGS = 100, 50
_CLOSE = 1e-15  # decrease of the mean log loss that a further step promises
_RIDGE = 1e-12  # decides between members that are alike


@method(
    Reference(
        authors="Jize Zhang, Bhavya Kailkhura, T. Yong-Jin Han",
        title="Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning",
        venue="ICML",
        year=2020,
        arxiv="2003.07329",
    ),
    cost="temperature scaling, two more passes over the (N, C) held-out predictions, steps over (N, 3) numbers",
)
class EnsembleTemperatureScaling(Calibrator):
    """Mixes three temperatures: ``w₁·softmax(z/T) + w₂·softmax(z) + w₃/C``.

    T is that of temperature scaling. The weights, at least zero with sum one, then minimise the mean log loss of the
    held-out predictions, a convex problem with one answer, found by Newton steps within the simplex. It is never worse
    than temperature scaling on these samples. The published code uses a general-purpose optimiser instead.

    Attributes:
        temperature_: the learned T.
        weights_: (3,) the learned weights of the scaled, the original and the uniform distribution.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[9.0, 0.0, 0.0]]).expand(100, 3)
        >>> scaling = EnsembleTemperatureScaling().fit(torch.tensor([0] * 80 + [1] * 10 + [2] * 10), logits=logits)
        >>> [round(p, 3) for p in scaling.predict_proba(logits=logits)[0].tolist()]
        [0.8, 0.1, 0.1]
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = True
    temperature_: float
    weights_: Float[Tensor, " 3"]

    def n_parameters(self, num_classes: int) -> int:
        """Return 4, the temperature and three weights, for any number of classes."""
        return 4

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        warn_of_few_rows(self, labels, log_probs.shape[1], weight)
        self.temperature_ = best_temperature(log_probs, labels, weight)
        uniform = torch.full_like(log_probs[:, 0], -math.log(log_probs.shape[1]))
        own = labels[:, None]
        scaled = log_probs.gather(1, own) / self.temperature_
        scaled = scaled.squeeze(1) - (log_probs / self.temperature_).logsumexp(dim=1)
        members = torch.stack([scaled, log_probs.gather(1, own).squeeze(1), uniform], dim=1)
        self.weights_ = _mixing_weights(members, weight)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        scaled = (log_probs / self.temperature_).log_softmax(dim=1)
        uniform = torch.full_like(log_probs, -math.log(log_probs.shape[1]))
        members = torch.stack([scaled, log_probs, uniform])
        return (members + self.weights_.log()[:, None, None]).logsumexp(dim=0).log_softmax(dim=1)


def _mixing_weights(members: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weights (3,) of the mixture with the largest likelihood, from the members' log-likelihoods (N, 3)."""
    share = torch.ones_like(members[:, 0]) if weight is None else weight
    share = share / share.sum()
    top = members.amax(dim=1, keepdim=True)
    chances = (members - top).exp()

    def loss(point: Tensor) -> float:
        return -((chances @ point).log() @ share).item()

    point = members.new_full((3,), 1 / 3)
    value = loss(point)
    for _ in range(_STEPS):
        ratios = chances / (chances @ point)[:, None]
        slope = -(share @ ratios)
        bend = (ratios * share[:, None]).T @ ratios
        step = _simplex_minimum(slope, bend, point) - point
        descent = (slope @ step).item()
        if -descent <= _CLOSE:
            break
        length = 1.0
        for _ in range(_HALVINGS):
            reached = loss(point + length * step)
            if reached <= value + 1e-4 * length * descent:
                break
            length /= 2
        else:
            break
        point, value = point + length * step, reached
    point = point.clamp_min(0)
    alone = torch.zeros_like(point)
    alone[0] = 1
    # The uniform distribution alone is best only where scaling is uniform too, up to rounding; scaling keeps the order.
    return alone if point[2] == 1 or loss(alone) <= value else point / point.sum()


def _simplex_minimum(slope: Tensor, bend: Tensor, point: Tensor) -> Tensor:
    """Return where on the simplex the quadratic model around a point is smallest, by trying each of its seven faces."""
    bend = bend + _RIDGE * bend.diagonal().max() * torch.eye(3, dtype=bend.dtype, device=bend.device)
    lean = slope - bend @ point
    best, lowest = point, float("inf")
    for size in (1, 2, 3):
        for face in itertools.combinations(range(3), size):
            kept = list(face)
            system = bend.new_ones(size + 1, size + 1)
            system[:size, :size] = bend[kept][:, kept]
            system[size, size] = 0
            solved = torch.linalg.solve(system, torch.cat([-lean[kept], lean.new_ones(1)]))[:size]
            candidate = torch.zeros_like(point)
            candidate[kept] = solved
            model = (lean @ candidate + 0.5 * candidate @ bend @ candidate).item()
            if (solved >= 0).all() and model < lowest:
                best, lowest = candidate, model
    return best
