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
    open.

    Args:
        log_odds: (N, K) float64.
        targets: (N, K) in [0, 1].
        weight: (N,) weights of the samples; None for ones.
        features: P tensors (N, K) from log-odds (N, K), by entry.
        start: P numbers.
        free: which coefficients are fitted; the others stay at zero. None for all.

    Returns:
        (K, P) coefficients and (K,) mean log losses, float64.

    Cost:
        A pass for each Newton step, over runs of rows short enough to stay in the cache.
    """
    columns, count = log_odds.shape[1], len(start)
    kept = torch.ones(columns, count, dtype=torch.bool, device=log_odds.device) if free is None else free
    problem = _Columns(log_odds, targets, weight, features, log_odds.new_tensor(start) * kept, kept)
    point = problem.origin
    value, slope, bend = problem.look(point)
    step = -torch.linalg.solve(bend, slope[:, :, None]).squeeze(2)
    length = torch.ones_like(value)
    active = torch.ones_like(value, dtype=torch.bool)
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
        active &= (descent < -_CLOSE) & (length > _SHORTEST)
        if not active.any():
            break
    return point, value


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
        moved = (coefficients - self.origin) * self.scale
        slope = torch.stack(others[:count], dim=1) / self.scale + _RIDGE * moved
        bend = torch.stack(others[count:], dim=1).reshape(-1, count, count)
        bend = bend / (self.scale[:, :, None] * self.scale[:, None, :])
        eye = torch.eye(count, dtype=bend.dtype, device=bend.device)
        pairs = self.kept[:, :, None] & self.kept[:, None, :]
        ridge = 0.5 * _RIDGE * moved.square().sum(dim=1)
        return loss + ridge, slope * self.kept, torch.where(pairs, bend + _RIDGE * eye, eye)

    def _moments_of(self, log_odds: Tensor, mass: Tensor) -> list[Tensor]:
        return [mass @ value.square() for value in self.features(log_odds)]

    def _part(self, coefficients: tuple[Tensor, ...], z: Tensor, target: Tensor, mass: Tensor) -> list[Tensor]:
        """Return the sums over rows of the loss, of its first and of its second derivatives."""
        values = self.features(z)
        logit = torch.zeros_like(z)
        for value, coefficient in zip(values, coefficients, strict=True):
            logit.addcmul_(value, coefficient)
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
