"""The linear head at the exact minimum of its penalised loss, from the features that a network has learned."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.explain._head_objective import HeadObjective, read_targets, with_constant
from trueline.explain._representers import check_options, read_matrix

_ARMIJO = 1e-4  # share of the decrease a straight line promises that a step must bring
_HALVINGS = 40
_PRODUCTS = 500  # most Hessian products for one Newton step
_ROUNDING = 1e-6  # largest residual of a fit that cannot be bettered in double precision


@dataclass(frozen=True, eq=False)
class L2Head:
    """A linear head at the minimum of its penalised loss.

    Args:
        weight: (C, D) weights, float64; (1, D) for the log-odds of class 1 of two.
        bias: (C,) biases, or None.
        residual: length of the gradient, relative to that of the penalty's; 0 at the minimum.
        steps: Newton steps taken.
        moved: (N,) how far each training sample's class probabilities are from those of the network's own head, in
            total variation, from 0 to 1; None where no head was given.
        agrees: (N,) whether both predict the same class; None where no head was given.
    """

    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"] | None
    residual: float
    steps: int
    moved: Float[Tensor, " N"] | None
    agrees: Bool[Tensor, " N"] | None

    def logits(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """Return the unnormalised scores of samples, float64.

        Args:
            features: (N, D) what the head reads.
        """
        outputs = features.double() @ self.weight.T
        return outputs if self.bias is None else outputs + self.bias

    def __str__(self) -> str:
        """Say what was found, and what it changes."""
        classes, features = self.weight.shape
        lines = [
            f"{classes} outputs of {features} features, stationary to {self.residual:.2g} after {self.steps} steps"
        ]
        if self.moved is not None and self.agrees is not None:
            lines.append(
                f"{self.agrees.double().mean():.1%} of {len(self.agrees)} training samples keep the class of the "
                f"network's own head; probabilities move by {self.moved.mean():.3g} on average and "
                f"{self.moved.max():.3g} at most (total variation)"
            )
        return "\n".join(lines)


def fit_l2_head(
    features: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"] | Float[Tensor, "N C"],
    *,
    weight_decay: float,
    outputs: int | None = None,
    bias: bool = True,
    penalised_bias: bool = True,
    head: nn.Linear | None = None,
    start: L2Head | None = None,
    tolerance: float = 1e-10,
    steps: int = 100,
) -> L2Head:
    """Return the linear head that minimises the penalised cross-entropy on given features.

    ``1/n·Σ_i ℓ(y_i, Wx_i + b) + w/2·(‖W‖² + ‖b‖²)``, the last term only where ``penalised_bias``. The minimum is unique
    (with an un-penalised bias up to a constant in all of its entries, chosen so that they add up to 0 over several
    classes) and is found by Newton's method, whose steps come from conjugate gradients in double precision. A
    network's own head is seldom at such a minimum, since training stops before; :func:`l2_representers` needs one.
    Labels that are the network's own probabilities give the head that imitates the network's best.

    Args:
        features: (N, D) finite; the penultimate activations of a network, as :func:`trueline.steer.features_of` gives.
        labels: (N,) class numbers, int64, or (N, C) probabilities.
        weight_decay: w, above 0.
        outputs: C, or 1 for the log-odds of class 1 of two; None for as many as ``head`` has, else as ``labels`` name.
        bias: whether there is one.
        penalised_bias: whether the penalty counts it.
        head: the network's own, to report how much the fitted one differs; it has no part in the fit.
        start: where the search begins, such as the fit of nearly the same samples; None for zero weights.
        tolerance: residual at which the fit ends. Where rounding ends it before, up to 1e-6 is accepted.
        steps: most Newton steps, at least 1.

    Returns:
        The head, float64 on the device of the features.

    Raises:
        ValueError: if an argument is out of range, a class of an un-penalised bias has no sample, or the minimum is not
            reached, which happens where a tiny ``weight_decay`` leaves it beyond double precision.
        TypeError: if a dtype is wrong.

    Cost:
        Some tens of products of the features with C vectors for each of about ten steps, and a Cholesky
        factorisation of a (D, D) matrix a step.

    Example:
        >>> features, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> head = fit_l2_head(features, labels, outputs=1, weight_decay=0.2689414213699951, bias=False)
        >>> round(head.weight.item(), 9)  # -σ(-1) + weight_decay·1 = 0
        1.0
    """
    check_options(1, None, tolerance, weight_decay=weight_decay)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    x = read_matrix(features, "features")
    count = _outputs(outputs, head, labels)
    targets = read_targets(labels, len(x), count)
    free = bias and not penalised_bias
    if free:
        _check_every_class(targets)
    objective = HeadObjective(with_constant(x) if bias else x, targets, weight_decay, free_intercept=free)
    theta = _start(start, count, objective.features)
    theta, residual, taken = _minimise(objective, theta, tolerance, steps)
    if free and count > 1:
        theta[:, -1] -= theta[:, -1].mean()
    weight, offsets = (theta[:, :-1], theta[:, -1]) if bias else (theta, None)
    moved, agrees = (None, None) if head is None else _compare(objective.probabilities(theta), head, x)
    return L2Head(weight.clone(), None if offsets is None else offsets.clone(), residual, taken, moved, agrees)


def _minimise(objective: HeadObjective, theta: Tensor, tolerance: float, steps: int) -> tuple[Tensor, float, int]:
    taken, stuck = 0, False
    while (residual := objective.residual(theta)) > tolerance:
        if stuck and residual <= _ROUNDING:
            break
        if stuck or taken == steps:
            reason = "rounding stops it there; raise weight_decay" if stuck else "raise steps"
            raise ValueError(
                f"the fit has a residual of {residual:.2g} after {taken} steps, above {tolerance:.2g}: {reason}"
            )
        theta, stuck = _newton_step(objective, theta, min(0.1, residual))
        taken += 1
    return theta, residual, taken


def _newton_step(objective: HeadObjective, theta: Tensor, accuracy: float) -> tuple[Tensor, bool]:
    """Return the next point, and whether none better was found."""
    slope, probabilities = objective.gradient(theta), objective.probabilities(theta)
    direction = _solve(objective, probabilities, -slope, accuracy)
    if objective.free_intercept and len(theta) > 1:  # a constant in all biases changes nothing: rounding, not descent
        direction[:, -1] -= direction[:, -1].mean()
    value, promised, length = objective.value(theta), (slope * direction).sum().item(), slope.norm()
    step = 1.0
    for _ in range(_HALVINGS):
        point = theta + step * direction
        reached = objective.value(point)
        # Next to the minimum the value changes by no more than rounding, but the gradient still shrinks.
        if (reached < value and reached <= value + _ARMIJO * step * promised) or (
            objective.gradient(point).norm() < length
        ):
            return point, False
        step /= 2
    return theta, True


def _solve(objective: HeadObjective, probabilities: Tensor, right: Tensor, accuracy: float) -> Tensor:
    """Return the Hessian's inverse times a matrix (C, D), by preconditioned conjugate gradients."""
    factor = _preconditioner(objective, probabilities)
    solution = torch.zeros_like(right)
    rest = right.clone()
    scaled = torch.cholesky_solve(rest.T, factor).T
    direction, size = scaled.clone(), (rest * scaled).sum()
    for _ in range(_PRODUCTS):
        if rest.norm() <= accuracy * right.norm():
            break
        product = objective.curvature_product(probabilities, direction)
        step = size / (direction * product).sum()
        solution += step * direction
        rest -= step * product
        scaled = torch.cholesky_solve(rest.T, factor).T
        size, before = (rest * scaled).sum(), size
        direction = scaled + (size / before) * direction
    return solution


def _preconditioner(objective: HeadObjective, probabilities: Tensor) -> Tensor:
    """Return the Cholesky factor of the mean over classes of the Hessian's diagonal blocks."""
    x = objective.features
    spread = (probabilities * (1 - probabilities)).mean(dim=1)
    block = (x * spread[:, None]).T @ x / len(x)
    block += torch.diag(objective.decay)
    # A saturated fit with an un-penalised bias has next to no curvature there.
    block.diagonal().add_(1e-14 * block.diagonal().max())
    factor: Tensor = torch.linalg.cholesky(block)
    return factor


def _outputs(outputs: int | None, head: nn.Linear | None, labels: Tensor) -> int:
    if outputs is None:
        if head is not None:
            outputs = head.out_features
        elif labels.is_floating_point():
            outputs = labels.shape[-1]
        else:
            outputs = max(2, int(labels.max()) + 1) if labels.numel() else 2
    if outputs < 1:
        raise ValueError(f"outputs must be at least 1, got {outputs}")
    if head is not None and head.out_features != outputs:
        raise ValueError(f"head must have {outputs} outputs, got {head.out_features}")
    return outputs


def _start(start: L2Head | None, outputs: int, features: Tensor) -> Tensor:
    if start is None:
        return features.new_zeros(outputs, features.shape[1])
    theta = start.weight if start.bias is None else torch.cat([start.weight, start.bias[:, None]], dim=1)
    if theta.shape != (outputs, features.shape[1]):
        raise ValueError(
            f"start must have {outputs} outputs and {features.shape[1]} weights each, a bias included, got "
            f"{tuple(theta.shape)}"
        )
    return theta.to(features)


def _check_every_class(targets: Tensor) -> None:
    mass = targets.sum(dim=0)
    if targets.shape[1] == 1:
        mass = torch.cat([len(targets) - mass, mass])
    if (mass <= 0).any():
        raise ValueError(
            f"class {int((mass <= 0).nonzero()[0])} has no sample, so its un-penalised bias has no finite minimum; "
            "use penalised_bias=True, or number the classes without gaps"
        )


def _compare(fitted: Tensor, head: nn.Linear, features: Tensor) -> tuple[Tensor, Tensor]:
    if head.in_features != features.shape[1]:
        raise ValueError(f"head must read {features.shape[1]} features, got {head.in_features}")
    outputs = features @ head.weight.detach().to(features).T
    if head.bias is not None:
        outputs = outputs + head.bias.detach().to(features)
    if len(head.weight) == 1:
        own = outputs.sigmoid()
        return (fitted - own).abs().squeeze(1).cpu(), ((fitted > 0.5) == (own > 0.5)).squeeze(1).cpu()
    own = outputs.softmax(dim=1)
    return (fitted - own).abs().sum(dim=1).cpu() / 2, (fitted.argmax(dim=1) == own.argmax(dim=1)).cpu()
