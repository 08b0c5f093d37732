"""Thresholds under covariate shift by likelihood-ratio regularised quantile regression, Joshi et al. (2025)."""

import math
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueline.conformal._conformal_quantile import check_alpha, check_scores
from trueline.conformal._likelihood_ratio import check_features, standardisation
from trueline.conformal._pinball_program import pinball_program
from trueline.contracts import Fittable, Reference, deal_folds, method

L = TypeVar("L", bound="LRQR")

_TINY = 1e-12
_ROUNDS = 60
_TOLERANCE = 1e-7
_COARSE = (0.01, 0.1, 1.0)
_FINE = 10


class _Sample(NamedTuple):
    """What the objective is made of: scores and features of labelled samples, moments of the others' features."""

    scores: Float[Tensor, " N"]
    design: Float[Tensor, "N E"]
    source: Float[Tensor, "K E"]
    target: Float[Tensor, "M E"]

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.source.T @ self.source / len(self.source), self.target.mean(dim=0)


@method(
    Reference(
        authors="Sunay Joshi, Shayan Kiyani, George Pappas, Edgar Dobriban, Hamed Hassani",
        title="Conformal Inference under High-Dimensional Covariate Shifts via Likelihood-Ratio Regularization",
        venue="arXiv",
        year=2025,
        arxiv="2502.13030",
    ),
    cost="for each strength several quantile regressions, whose steps take O(N·D² + D³); 39 strengths and folds if the "
    "strength is chosen",
)
class LRQR(Fittable):
    """A threshold for the scores that follows the features, for coverage on target inputs without likelihood ratios.

    The threshold is ``h(x) = <γ, φ(x)>``, φ the standardised features and a constant. With labelled source samples (1),
    unlabelled target samples (2) and unlabelled source samples (3) it minimises

    ``mean_1 ρ_τ(S - h) + λ(β²·mean_3 h² - 2β·mean_2 h)`` with ``τ = 1 - alpha``

    over γ and β. The second part pushes h to line up with the likelihood ratio r of target to source inputs, since it
    is the squared distance of βh from r up to a constant. Where the direction of r is caught, the optimality condition
    of the first part makes ``E_1[r·1(S <= h)]``, the coverage on the target, about ``1 - alpha``. With the best β it is
    ``-λ(mean_2 h)²/mean_3 h²``, which a factor of h does not change. This is for many features and few labelled
    samples, where estimated ratios fail; coverage is approximate, and too large a λ destroys it, so look at it on
    labelled target samples if there are any. λ here is in units of the standard deviation of the scores, so that their
    unit does not matter.

    γ and β are improved in turns, γ exactly by an interior-point method and β in closed form, with extrapolation of
    β, until neither changes; the problem is not convex in both, and the turns begin at the quantile regression λ = 0.

    If no strength is given, λ is chosen by cross-validation: that with the smallest norm of the objective's gradient
    in γ and β on the held-out folds, first of 0.01, 0.1 and 1 times ``√((n_2 + n_3)/n_1)`` and then of ten values up to
    the one found. The paper has the rule, the grid of ten and the square root; the coarse values are ours.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        strength: λ, at least 0; None to choose it by cross-validation.
        folds: number of folds, from 2 on.
        seed: deals the samples to the folds.

    Attributes:
        weights_: (D + 1,) γ, of the standardised features, and the constant last, in the unit of the scores.
        centre_: (D,) means of the source features.
        scale_: (D,) their standard deviations, 1 for a constant one.
        beta_: β; times the threshold it approximates the likelihood ratio.
        strength_: the λ that was used.

    Example:
        >>> scores, one = torch.arange(1.0, 12.0), torch.ones(11, 1)
        >>> lrqr = LRQR(0.2, strength=0.5).fit(scores, features=one, source=one, target=one)
        >>> [round(value, 6) for value in lrqr.thresholds(one[:1]).tolist()]  # a constant: the 0.8 quantile, for any λ
        [9.0]
    """

    weights_: Float[Tensor, " E"]
    centre_: Float[Tensor, " D"]
    scale_: Float[Tensor, " D"]
    beta_: float
    strength_: float

    def __init__(self, alpha: float, *, strength: float | None = None, folds: int = 3, seed: int = 0) -> None:
        check_alpha(alpha)
        if strength is not None and not 0 <= strength < math.inf:
            raise ValueError(f"strength must be at least 0 and finite, got {strength}; None chooses it")
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}")
        self.alpha = alpha
        self.strength = strength
        self.folds = folds
        self.seed = seed

    def fit(
        self: L,
        scores: Float[Tensor, " N"],
        *,
        features: Float[Tensor, "N D"],
        source: Float[Tensor, "K D"],
        target: Float[Tensor, "M D"],
    ) -> L:
        """Learn the threshold; an earlier fit is forgotten.

        Args:
            scores: (N,) scores of the labels of source samples, larger is worse, of any method.
            features: (N, D) their features, such as the last layer's.
            source: (K, D) features of unlabelled source samples; the labelled ones may serve again.
            target: (M, D) features of unlabelled target samples.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes do not fit, a value is not finite, or there are fewer samples than folds.
            TypeError: if a dtype is not floating point.
        """
        check_scores(scores)
        values = check_features("features", features)
        unlabelled, shifted = (
            check_features(name, other, values.shape[1]) for name, other in (("source", source), ("target", target))
        )
        if scores.shape != (len(values),) or not scores.isfinite().all():
            raise ValueError(f"scores must be finite and of shape ({len(values)},), got {tuple(scores.shape)}")
        if self.strength is None and min(len(values), len(unlabelled), len(shifted)) < self.folds:
            raise ValueError(f"{self.folds} folds need at least as many samples of each kind; pass fewer, or strength=")
        with self._learning():
            self.centre_, self.scale_ = standardisation(torch.cat([values, unlabelled]))
            own = scores.detach().double()
            unit = own.std(correction=0).item() or 1.0
            sample = _Sample(own / unit, *(self._design(part) for part in (values, unlabelled, shifted)))
            tau = 1 - self.alpha
            self.strength_ = self._chosen_strength(sample) if self.strength is None else float(self.strength)
            weights, beta = _solve(sample, tau, self.strength_)
            self.weights_, self.beta_ = unit * weights, beta / unit
        return self

    def thresholds(self, features: Float[Tensor, "M D"]) -> Float[Tensor, " M"]:
        """Return the largest score in the set of each sample.

        Args:
            features: (M, D) features.

        Returns:
            (M,) thresholds in the unit of the scores, float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the shape does not fit or a value is not finite.
        """
        self._check_fitted()
        return self._design(check_features("features", features, len(self.centre_))) @ self.weights_

    def predict_set(self, scores: Float[Tensor, "_M C"], *, features: Float[Tensor, "M D"]) -> Bool[Tensor, "M C"]:
        """Return which classes are in the set of each sample: those whose score is at most its threshold.

        Args:
            scores: (M, C) score of each class, as :meth:`ConformalClassifier.scores` gives them.
            features: (M, D) features.

        Returns:
            (M, C) True for the classes in the set.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if a shape does not fit, or a score is NaN.
        """
        check_scores(scores)
        limits = self.thresholds(features)
        if scores.ndim != 2 or len(scores) != len(limits):
            raise ValueError(f"scores must have shape ({len(limits)}, C), one row a sample, got {tuple(scores.shape)}")
        return scores.detach().double() <= limits[:, None]

    def _design(self, values: Tensor) -> Tensor:
        return torch.cat([(values - self.centre_) / self.scale_, torch.ones_like(values[:, :1])], dim=1)

    def _chosen_strength(self, sample: _Sample) -> float:
        generator = torch.Generator().manual_seed(self.seed)
        sizes = (len(sample.scores), len(sample.source), len(sample.target))
        dealt = [deal_folds(size, self.folds, generator).to(sample.scores.device) for size in sizes]
        factor = math.sqrt((sizes[1] + sizes[2]) / sizes[0])
        most = min((factor * value for value in _COARSE), key=lambda strength: self._miss(sample, dealt, strength))
        grid = [most * place / _FINE for place in range(1, _FINE + 1)]
        return min(grid, key=lambda strength: self._miss(sample, dealt, strength))

    def _miss(self, sample: _Sample, dealt: list[Tensor], strength: float) -> float:
        """Return the mean norm of the objective's gradient on the folds that were left out."""
        labelled, source, target = dealt
        total = 0.0
        for fold in range(self.folds):
            kept, held = (
                _Sample(sample.scores[a], sample.design[a], sample.source[b], sample.target[c])
                for a, b, c in (
                    (labelled != fold, source != fold, target != fold),
                    (labelled == fold, source == fold, target == fold),
                )
            )
            total += _gradient_norm(held, 1 - self.alpha, strength, *_solve(kept, 1 - self.alpha, strength))
        return total / self.folds


def _solve(sample: _Sample, tau: float, strength: float) -> tuple[Tensor, float]:
    """Return γ and β of a stationary point of the objective."""
    second, first = sample.moments()
    weights = pinball_program(sample.design, sample.scores, tau, 0 * second, 0 * first)
    beta = _best_beta(weights, second, first)
    if strength == 0:
        return weights, beta
    value, before = math.inf, None
    for _ in range(_ROUNDS):
        found = pinball_program(
            sample.design, sample.scores, tau, 2 * strength * beta**2 * second, 2 * strength * beta * first
        )
        implied = _best_beta(found, second, first)
        reached = _objective(sample, tau, strength, found, second, first)
        if reached > value:  # too long a stride; plain turns cannot make it worse
            beta = _best_beta(weights, second, first)
            if before is None:
                break
            before = None
            continue
        weights, value = found, reached
        if abs(implied - beta) <= _TOLERANCE * abs(implied):
            break
        beta, before = _extrapolated(before, (beta, implied)), (beta, implied)
    return weights, _best_beta(weights, second, first)


def _extrapolated(before: tuple[float, float] | None, now: tuple[float, float]) -> float:
    """Return where the steps of β seem to lead, at most ten steps further: Aitken's rule."""
    beta, implied = now
    if before is None or beta == before[0]:
        return implied
    slope = (implied - before[1]) / (beta - before[0])
    return beta + (implied - beta) * (min(10.0, 1 / (1 - slope)) if 0 < slope < 1 else 1.0)


def _best_beta(weights: Tensor, second: Tensor, first: Tensor) -> float:
    return float(first @ weights / (weights @ second @ weights + _TINY))


def _objective(sample: _Sample, tau: float, strength: float, weights: Tensor, second: Tensor, first: Tensor) -> float:
    error = sample.scores - sample.design @ weights
    loss = torch.maximum(tau * error, (tau - 1) * error).mean()
    return (loss - strength * (first @ weights).square() / (weights @ second @ weights + _TINY)).item()


def _gradient_norm(sample: _Sample, tau: float, strength: float, weights: Tensor, beta: float) -> float:
    second, first = sample.moments()
    miss = (sample.scores <= sample.design @ weights).double() - tau
    by_weights = sample.design.T @ miss / len(miss) + 2 * strength * beta * (beta * second @ weights - first)
    by_beta = 2 * strength * (beta * weights @ second @ weights - first @ weights)
    return float(torch.cat([by_weights, by_beta[None]]).norm())
