"""Multinomial logistic regression on log-probabilities by Newton's method, each step by conjugate gradients.

Solver of vector, matrix, structured and Dirichlet scaling.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._temperature import TemperatureScaling
from trueline.contracts import row_blocks

RIDGE = 1e-10  # share of the features' second moments: keeps separable and constant data finite, moves nothing else
_CLOSE = 1e-9  # Newton decrement at which a fit ends, about the remaining error of the logits
_NEWTON_STEPS, _CG_STEPS, _HALVINGS = 50, 100, 40
# A full matrix has its curvature factored class by class with few classes, with more where its diagonal does not do.
_DENSE_CLASSES, _MOST_DENSE_CLASSES = 32, 256


class Diagonal:
    """Each logit is a slope times the log-probability of its own class, plus an intercept; P = 2.

    Coefficients are (P, C), the intercepts in the last row.
    """

    def logits(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """Return the logits of some rows."""
        return torch.addcmul(coefficients[1], rows, coefficients[0])

    def sums(self, rows: Tensor, residual: Tensor) -> Tensor:
        """Return the (P, C) sums over rows of feature times residual: the transpose of :meth:`logits`."""
        return torch.stack([(rows * residual).sum(dim=0), residual.sum(dim=0)])

    def curvature(self, rows: Tensor, mass: Tensor, *, dense: bool) -> Tensor:
        """Return the (C, P, P) sums over rows of feature times feature times mass, always all of them."""
        first = rows * mass
        entries = [(first * rows).sum(dim=0), first.sum(dim=0), mass.sum(dim=0)]
        return torch.stack([entries[0], entries[1], entries[1], entries[2]], dim=1).reshape(-1, 2, 2)


class Full:
    """Each logit is a weighted sum of the log-probabilities of all classes, plus an intercept; P = C + 1.

    Coefficients are (P, C), the intercepts in the last row.
    """

    def logits(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """Return the logits of some rows."""
        return torch.addmm(coefficients[-1], rows, coefficients[:-1])

    def sums(self, rows: Tensor, residual: Tensor) -> Tensor:
        """Return the (P, C) sums over rows of feature times residual: the transpose of :meth:`logits`."""
        return torch.cat([rows.T @ residual, residual.sum(dim=0, keepdim=True)])

    def curvature(self, rows: Tensor, mass: Tensor, *, dense: bool) -> Tensor:
        """Return the (C, P, P) sums over rows of feature times feature times mass, or their (P, C) diagonal."""
        if not dense:
            return self.sums(rows.square(), mass)
        features = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        return torch.stack([(features * column[:, None]).T @ features for column in mass.T])


def best_temperature(
    log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
) -> float:
    """Return the temperature with the smallest log loss, where the other maps start.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
    """
    scaling = TemperatureScaling()
    scaling._fit(log_probs, labels, weight)
    return scaling.temperature_


def fit_multinomial(
    design: Diagonal | Full,
    features: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    weight: Float[Tensor, " N"] | None,
    *,
    start: Float[Tensor, "P C"],
    penalty: Float[Tensor, "P C"] | float = 0.0,
) -> Float[Tensor, "P C"]:
    """Return the coefficients with the smallest mean log loss plus ``Σ penalty·(coefficient - start)²``.

    The problem is convex. Newton's equations are solved by conjugate gradients, preconditioned with the curvature of
    each class on its own, as exactly as the distance to the minimum deserves; steps that do not lower the objective
    are halved. The result is never worse than the start, and repeats to the bit. A ridge of 1e-10 towards the start,
    in units of each feature's second moment, decides where the data leave a coefficient open.

    Args:
        design: :class:`Diagonal` or :class:`Full`.
        features: (N, C) float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        start: (P, C) where to begin.
        penalty: at least zero, for each coefficient or one for all.

    Returns:
        (P, C) coefficients, float64.

    Cost:
        Memory for one more (N, C) array in double precision. Each of a few Newton steps takes one exponential of every
        entry and a pass of multiplications for each step of conjugate gradients. Curvatures of a full matrix that are
        factored take C·P² numbers and N·C·P² multiplications a step.
    """
    problem = _Problem(design, features, labels, weight, start, penalty)
    point = start
    value = problem.objective(point)
    dense = features.shape[1] <= _DENSE_CLASSES
    for _ in range(_NEWTON_STEPS):
        slope = problem.gradient(point)
        precondition = _preconditioner(problem.curvature(dense=dense), problem.pull, problem.moments)
        distance = (slope * precondition(slope)).sum().clamp_min(0).sqrt().item()
        if distance <= _CLOSE:
            break
        step, solved = _conjugate_gradients(problem.hessian_times, precondition, -slope, min(0.1, distance))
        dense = dense or (not solved and features.shape[1] <= _MOST_DENSE_CLASSES)
        accepted = _line_search(problem.objective, point, value, step, (slope * step).sum().item())
        if accepted is None:  # rounding hides any further descent
            break
        point, value = accepted
    return point


class _Problem:
    """The objective and its derivatives, run of rows by run of rows; ``probs`` are those of the last objective."""

    def __init__(
        self,
        design: Diagonal | Full,
        features: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        start: Tensor,
        penalty: Tensor | float,
    ) -> None:
        share = torch.ones_like(features[:, 0]) if weight is None else weight
        self.design, self.features, self.labels, self.start = design, features, labels, start
        self.share = share / share.sum()
        self.probs = torch.empty_like(features)
        moments = _over_blocks(self._moments_of, features, self.share)
        self.moments = torch.where(moments > 0, moments, 1.0)
        self.pull = 2 * penalty + RIDGE * self.moments  # second derivative of the penalty

    def objective(self, coefficients: Tensor) -> float:
        total = 0.0
        for rows, kept, own, mass in row_blocks(self.features, self.probs, self.labels, self.share):
            logits = self.design.logits(rows, coefficients)
            top = logits.amax(dim=1, keepdim=True)
            label_logits = (logits.gather(1, own[:, None]) - top).squeeze(1)
            torch.sub(logits, top, out=kept).exp_()
            norm = kept.sum(dim=1)
            kept /= norm[:, None]
            total += ((norm.log() - label_logits) @ mass).item()
        return total + 0.5 * (self.pull * (coefficients - self.start).square()).sum().item()

    def gradient(self, coefficients: Tensor) -> Tensor:
        data = _over_blocks(self._gradient_of, self.features, self.probs, self.labels, self.share)
        return data + self.pull * (coefficients - self.start)

    def hessian_times(self, direction: Tensor) -> Tensor:
        data = _over_blocks(partial(self._change_of, direction), self.features, self.probs, self.share)
        return data + self.pull * direction

    def curvature(self, *, dense: bool) -> Tensor:
        return _over_blocks(partial(self._curvature_of, dense), self.features, self.probs, self.share)

    def _moments_of(self, rows: Tensor, mass: Tensor) -> Tensor:
        return self.design.sums(rows.square(), mass[:, None].expand_as(rows))

    def _gradient_of(self, rows: Tensor, chance: Tensor, own: Tensor, mass: Tensor) -> Tensor:
        residual = chance * mass[:, None]
        residual.scatter_add_(1, own[:, None], -mass[:, None])
        return self.design.sums(rows, residual)

    def _change_of(self, direction: Tensor, rows: Tensor, chance: Tensor, mass: Tensor) -> Tensor:
        weighted = chance * self.design.logits(rows, direction)
        mean = weighted.sum(dim=1, keepdim=True)
        return self.design.sums(rows, weighted.sub_(chance * mean).mul_(mass[:, None]))

    def _curvature_of(self, dense: bool, rows: Tensor, chance: Tensor, mass: Tensor) -> Tensor:
        return self.design.curvature(rows, chance * (1 - chance) * mass[:, None], dense=dense)


def _over_blocks(part: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    results = (part(*block) for block in row_blocks(*tensors))
    total: Tensor = next(results)
    for result in results:  # one at a time, as each can be large
        total += result
    return total


def _preconditioner(curvature: Tensor, pull: Tensor, moments: Tensor) -> Callable[[Tensor], Tensor]:
    if curvature.ndim == 2:
        diagonal = curvature + pull
        return lambda residual: residual / diagonal
    scale = moments.sqrt()  # (P, C), so that features of any size can be factored
    scaled = curvature / (scale.T[:, :, None] * scale.T[:, None, :])
    factor = torch.linalg.cholesky(scaled + torch.diag_embed((pull / moments).T))
    return lambda residual: torch.cholesky_solve((residual / scale).T[:, :, None], factor).squeeze(2).T / scale


def _conjugate_gradients(
    times: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], target: Tensor, tolerance: float
) -> tuple[Tensor, bool]:
    """Return x with ``times(x)`` near the target, and whether to a relative tolerance in the preconditioner's norm."""
    result = torch.zeros_like(target)
    residual = target.clone()
    direction = solved = precondition(residual)
    size = first = (residual * solved).sum().item()
    for _ in range(_CG_STEPS):
        product = times(direction)
        bend = (direction * product).sum().item()
        if bend <= 0:  # rounding
            return result, True
        result = result + (size / bend) * direction
        residual -= (size / bend) * product
        solved = precondition(residual)
        before, size = size, (residual * solved).sum().item()
        if size <= tolerance**2 * first:
            return result, True
        direction = solved + (size / before) * direction
    return result, False


def _line_search(
    objective: Callable[[Tensor], float], point: Tensor, value: float, step: Tensor, slope: float
) -> tuple[Tensor, float] | None:
    length = 1.0
    for _ in range(_HALVINGS):
        trial = point + length * step
        reached = objective(trial)
        if reached <= value + 1e-4 * length * slope + 1e-15 * abs(value):
            return trial, reached
        length /= 2
    return None
