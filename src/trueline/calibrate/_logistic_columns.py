"""Logistic regression of many columns at once, each on a few features of its own, by Newton's method."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from trueline.contracts import row_blocks

_RIDGE = 1e-10  # share of the features' second moments: keeps separable and constant columns finite
_CLOSE = 1e-14  # decrease that the last step promises; the error left by it is about its square
_STEPS, _SHORTEST = 100, 1e-10
_FAR = 1e3  # way from the start, times the features' size, beyond which the ridge shows in the result
_LOG_RANGE, _BISECTIONS = 12.0, 50  # of the factor that is looked for, in units of one over the logits' size
_SURE = 1e-10  # an intercept alone stays this far from 0 and 1


def fit_columns(
    log_odds: Float[Tensor, "N K"],
    targets: Float[Tensor, "N K"],
    weight: Float[Tensor, " N"] | None,
    features: Callable[[Tensor], list[Tensor]],
    start: list[float],
    free: Bool[Tensor, "K P"] | None = None,
) -> tuple[Float[Tensor, "K P"], Float[Tensor, " K"]]:
    """Return, for each column, the coefficients of ``σ(Σ_p coefficient_p·feature_p)`` with the smallest log loss.

    All columns take their Newton steps together; the step of a column that did not lower its loss is halved. A ridge
    of 1e-10 towards the start, in units of each feature's second moment, decides where the data leave a coefficient
    open. A column whose steps fail, or end so far away that the ridge shows, as where the start is sure of everything
    and often wrong, starts again: from the start divided by its best temperature or from the intercept alone,
    whichever has the smaller loss, then from the other. It is never worse than these.

    Args:
        log_odds: (N, K) float64.
        targets: (N, K) in [0, 1].
        weight: (N,) weights of the samples; None for ones.
        features: P tensors (N, K) from log-odds (N, K), by entry; the last is all ones, the intercept.
        start: P numbers.
        free: which coefficients are fitted, the intercept among them; the others stay at zero. None for all.

    Returns:
        (K, P) coefficients and (K,) mean log losses, float64.

    Cost:
        A pass for each Newton step, over runs of rows short enough to stay in the cache.
    """
    columns, count = log_odds.shape[1], len(start)
    kept = torch.ones(columns, count, dtype=torch.bool, device=log_odds.device) if free is None else free
    problem = _Columns(log_odds, targets, weight, features, log_odds.new_tensor(start) * kept, kept)
    point, value, settled = _descend(problem)
    value = value - problem.ridge(point)
    if not settled.all():
        lost = ~settled
        problem = _Columns(log_odds[:, lost], targets[:, lost], weight, features, problem.origin[lost], kept[lost])
        point[lost], value[lost] = _start_again(problem, point[lost])
    return point, value


def _descend(problem: "_Columns") -> tuple[Tensor, Tensor, Tensor]:
    """Return coefficients (K, P), their objective (K,), and whether that is a minimum which the ridge did not move."""
    point = problem.origin
    value, slope, bend = problem.look(point)
    step = -torch.linalg.solve(bend, slope[:, :, None]).squeeze(2)
    length = torch.ones_like(value)
    active = torch.ones_like(value, dtype=torch.bool)
    settled = torch.zeros_like(active)
    for _ in range(_STEPS):
        descent = (slope * step).sum(dim=1)
        trial = torch.where(active[:, None], point + length[:, None] * step / problem.scale, point)
        reached, trial_slope, trial_bend = problem.look(trial)
        better = active & (reached <= value + 1e-4 * length * descent + 1e-15 * value.abs())
        point = torch.where(better[:, None], trial, point)
        value = torch.where(better, reached, value)
        slope = torch.where(better[:, None], trial_slope, slope)
        bend = torch.where(better[:, None, None], trial_bend, bend)
        fresh = -torch.linalg.solve(bend, slope[:, :, None]).squeeze(2)
        step = torch.where(better[:, None], fresh, step)
        length = torch.where(better, 1.0, length / 2)
        settled |= active & (descent >= -_CLOSE)
        active &= (descent < -_CLOSE) & (length > _SHORTEST)
        if not active.any():
            break
    return point, value, settled & (problem.moved(point).abs().amax(dim=1) <= _FAR)


def _start_again(problem: "_Columns", point: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best coefficients of all starts, a point already reached among them, and their mean log losses."""
    first = problem.origin
    cooled, alone = first * problem.best_factor()[:, None], torch.zeros_like(first)
    alone[:, -1] = problem.mean_target().clamp(_SURE, 1 - _SURE).logit()
    best, lowest = point, problem.loss(point)
    cooler = problem.loss(cooled) <= problem.loss(alone)
    pending = torch.ones_like(cooler)
    for near, far in ((cooled, alone), (alone, cooled)):
        problem.origin = torch.where(cooler[:, None], near, far)
        reached, _, settled = _descend(problem)
        value = problem.loss(reached)
        better = pending & (value < lowest)
        best, lowest = torch.where(better[:, None], reached, best), torch.where(better, value, lowest)
        pending &= ~settled
        if not pending.any():
            break
    return best, lowest


class _Columns:
    """The objective of each column, with derivatives in coefficients that are scaled by their feature's size."""

    def __init__(
        self,
        log_odds: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        features: Callable[[Tensor], list[Tensor]],
        origin: Tensor,
        kept: Tensor,
    ) -> None:
        share = torch.ones_like(log_odds[:, 0]) if weight is None else weight
        self.share = share / share.sum()
        self.log_odds, self.targets, self.features, self.origin, self.kept = log_odds, targets, features, origin, kept
        moments = torch.stack(_sums(self._moments_of, log_odds, self.share), dim=1)
        self.scale = torch.where(moments > 0, moments, 1.0).sqrt()

    def look(self, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = coefficients.shape[1]
        part = partial(self._part, coefficients.unbind(dim=1))
        loss, *others = _sums(part, self.log_odds, self.targets, self.share)
        moved = self.moved(coefficients)
        slope = torch.stack(others[:count], dim=1) / self.scale + _RIDGE * moved
        bend = torch.stack(others[count:], dim=1).reshape(-1, count, count)
        bend = bend / (self.scale[:, :, None] * self.scale[:, None, :])
        eye = torch.eye(count, dtype=bend.dtype, device=bend.device)
        pairs = self.kept[:, :, None] & self.kept[:, None, :]
        return loss + self.ridge(coefficients), slope * self.kept, torch.where(pairs, bend + _RIDGE * eye, eye)

    def moved(self, coefficients: Tensor) -> Tensor:
        """Return how far coefficients are from the start, in units of one over each feature's size."""
        return (coefficients - self.origin) * self.scale

    def ridge(self, coefficients: Tensor) -> Tensor:
        """Return what the ridge adds to the mean log losses (K,)."""
        return 0.5 * _RIDGE * self.moved(coefficients).square().sum(dim=1)

    def loss(self, coefficients: Tensor) -> Tensor:
        """Return the mean log losses (K,), without the ridge."""
        return self.look(coefficients)[0] - self.ridge(coefficients)

    def mean_target(self) -> Tensor:
        return self.share @ self.targets

    def best_factor(self) -> Tensor:
        """Return by which factor (K,) the start has the smallest loss: one over its best temperature."""
        size = _sums(self._logit_moment, self.log_odds, self.share)[0]
        unit = torch.where(size > 0, size, 1.0).rsqrt()
        low, high = torch.full_like(unit, -_LOG_RANGE), torch.full_like(unit, _LOG_RANGE)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            part = partial(self._logit_slope, unit * middle.exp())
            rises = _sums(part, self.log_odds, self.targets, self.share)[0] > 0
            low, high = torch.where(rises, low, middle), torch.where(rises, middle, high)
        return unit * ((low + high) / 2).exp()

    def _logit_moment(self, z: Tensor, mass: Tensor) -> list[Tensor]:
        return [mass @ self._logit(self.features(z), self.origin.unbind(dim=1)).square()]

    def _logit_slope(self, factor: Tensor, z: Tensor, target: Tensor, mass: Tensor) -> list[Tensor]:
        logit = self._logit(self.features(z), self.origin.unbind(dim=1))
        return [mass @ (((factor * logit).sigmoid() - target) * logit)]

    def _logit(self, values: list[Tensor], coefficients: tuple[Tensor, ...]) -> Tensor:
        logit = torch.zeros_like(values[0])
        for value, coefficient in zip(values, coefficients, strict=True):
            logit.addcmul_(value, coefficient)
        return logit

    def _moments_of(self, log_odds: Tensor, mass: Tensor) -> list[Tensor]:
        return [mass @ value.square() for value in self.features(log_odds)]

    def _part(self, coefficients: tuple[Tensor, ...], z: Tensor, target: Tensor, mass: Tensor) -> list[Tensor]:
        """Return the sums over rows of the loss, of its first and of its second derivatives."""
        values = self.features(z)
        logit = self._logit(values, coefficients)
        loss = mass @ (softplus(logit) - target * logit)
        chance = logit.sigmoid()
        residual = (chance - target) * mass[:, None]
        bend = chance * (1 - chance) * mass[:, None]
        slopes = [(residual * value).sum(dim=0) for value in values]
        weighted = [bend * value for value in values]
        return [loss, *slopes, *[(one * other).sum(dim=0) for one in weighted for other in values]]


def _sums(part: Callable[..., list[Tensor]], *tensors: Tensor) -> list[Tensor]:
    first, *others = (part(*block) for block in row_blocks(*tensors))
    for other in others:
        first = [a + b for a, b in zip(first, other, strict=True)]
    return first
