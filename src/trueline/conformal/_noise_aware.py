"""Conformal prediction calibrated on noisy labels, by Penso, Goldberger and Fetaya (2025)."""

import math
import warnings
from numbers import Number

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import WrappedConformal
from trueline.conformal._conformal_quantile import too_few
from trueline.conformal._split import SplitConformal
from trueline.contracts import Reference, check_tensors, method

_DIGITS = 9  # counts that should be whole may miss it by rounding
_SUM_TOLERANCE = 1e-6


@method(
    Reference(
        authors="Coby Penso, Jacob Goldberger, Ethan Fetaya",
        title="Conformal Prediction of Classifiers with Many Classes based on Noisy Labels",
        venue="COPA",
        year=2025,
        arxiv="2501.12749",
    ),
    cost="the wrapped scores; one binary search among n scores for each of the n·C calibration scores",
)
class NoiseAware(WrappedConformal):
    """Covers the clean label as often as agreed, calibrated on labels that are wrong at a known rate.

    Let ``P_ij`` be the probability that class i is recorded as j, whatever else a sample is like: labels that are wrong
    more often where the sample is hard, as people's are, break the promise. The share of calibration samples whose
    clean label scores at most q is estimated without bias by ``F(q) = mean_i Σ_k (P⁻¹)_{ỹ_i, k} 1[S_ik <= q]``. If a
    share ε of the labels is replaced by a class drawn from all C alike, this is ``(F_noisy(q) - ε·F_random(q))/(1 -
    ε)``, with the coverage of the noisy labels and the mean share of classes that score at most q. The threshold is the
    smallest score q of a noisy label with ``F(q) >= (1 - alpha)(n + 1)/n``. F need not increase, so all scores are
    looked at.

    Ours are the factor (n + 1)/n, which makes ε = 0 ordinary conformal prediction, and that F is kept at or below the
    mean size of the sets, which no coverage exceeds. Coverage, and what p-values promise, is approximate for ε > 0,
    and falls short where many labels are wrong and samples are few. What it is on wrong labels, by people and drawn, is
    measured by ``trueline reproduce noise-aware-coverage-cifar10n``.

    How many samples are enough is judged by their estimate of coverage at the threshold. Its variance is that of
    ``Σ_k (P⁻¹)_{ỹ_i, k} 1[S_ik <= q]`` over n; where the root of what exceeds the variance ``alpha(1 - alpha)/n`` of
    clean labels is larger than alpha, a warning says so. For labels replaced at random it is about
    ``1/(2(1 - ε)·sqrt(n))``. The rule is ours. In simulations of LAC at alpha = 0.1 with n = 300, which it warned of at
    ε = 0.8 and 0.9, 85 to 88 % and 83 to 87 % were covered; with ε = 0.6, 88 %, and with ε = 0.4, 90 %.

    Args:
        method: whose scores to use, such as ``APS(0.1)``. It stays unfitted.
        noise: the share ε of labels that were replaced, in [0, 1); or the (C, C) matrix P, whose rows sum to one.
        delta: if given, ``1 - alpha`` is raised by ``sqrt(ln(4/delta)/(2n))·(1 + ε)/(1 - ε)``, so that coverage is at
            least 1 - alpha with a probability of 1 - delta over the calibration samples; in (0, 1), for a share ε only.
            None for coverage on average, approximately.

    Attributes:
        threshold_: the largest score in a set; infinite if the samples are too few.
        scores_: (m,) scores at which the estimated coverage rises, in ascending order.
        covered_: (m,) the largest estimate up to each, times n.
        samples_: n.

    Example:
        >>> import torch
        >>> from trueline.conformal import LAC
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 3 * torch.randn(1000, 10, generator=generator)
        >>> labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
        >>> replaced = torch.rand(1000, generator=generator) < 0.2
        >>> noisy = torch.where(replaced, torch.randint(10, (1000,), generator=generator), labels)
        >>> methods = {"clean": LAC(0.1).fit(labels, logits=logits), "naive": LAC(0.1).fit(noisy, logits=logits)}
        >>> methods["aware"] = NoiseAware(LAC(0.1), 0.2).fit(noisy, logits=logits)
        >>> {name: round(method.threshold_, 1) for name, method in methods.items()}
        {'clean': 2.2, 'naive': 5.2, 'aware': 2.2}
    """

    exact_coverage = False
    threshold_: float
    scores_: Float[Tensor, " m"]
    covered_: Float[Tensor, " m"]
    samples_: int

    def __init__(
        self, method: SplitConformal, noise: float | Float[Tensor, "C C"], *, delta: float | None = None
    ) -> None:
        super().__init__(method)
        _check_noise(noise)
        if delta is not None and (isinstance(noise, Tensor) or not 0 < delta < 1):
            raise ValueError(
                f"delta must lie strictly between 0 and 1 and needs noise= as one share, got {delta}; its bound is "
                "known for labels that are replaced at random only"
            )
        self.noise = noise
        self.delta = delta
        self.holds_top_classes = method.holds_top_classes

    def _calibrate(
        self,
        scores: Float[Tensor, "N C"],
        labels: Int64[Tensor, " N"],
        groups: Int64[Tensor, " N"] | None,
        draws: Float[Tensor, " N"],
    ) -> None:
        self.samples_ = len(labels)
        noisy = scores.gather(1, labels[:, None]).sort(dim=0).values.squeeze(1)
        candidates = torch.cat([noisy, scores.max()[None]])
        # Every score is counted at the first candidate that is at least as large.
        place = torch.searchsorted(candidates, scores).flatten()
        counted = torch.bincount(place, minlength=len(candidates)).cumsum(0)
        shares = self._shares(labels, scores.shape[1])
        covered = torch.bincount(place, shares.flatten(), len(candidates)).cumsum(0)
        last_of_ties = torch.cat([candidates[1:] != candidates[:-1], candidates.new_ones(1, dtype=torch.bool)])
        estimate = torch.minimum(covered, counted)[last_of_ties].round(decimals=_DIGITS)
        highest = estimate.cummax(0).values
        rises = highest > torch.cat([highest.new_zeros(1), highest[:-1]])
        self.scores_, self.covered_ = candidates[last_of_ties][rises], highest[rises]
        needed = round((self.samples_ + 1) * (1 - self.alpha) + self._reserve(), _DIGITS)
        found = int(torch.searchsorted(self.covered_, needed))
        if needed > self.samples_:
            kept = "" if self.delta is None else f" less a reserve for delta = {self.delta:g}"
            warnings.warn(too_few(f"only {self.samples_}{kept}", self.alpha, self._enough()), stacklevel=3)
        reached = needed <= self.samples_ and found < len(self.scores_)
        self.threshold_ = self.scores_[found].item() if reached else math.inf
        error = self._added_error((shares * (scores <= self.threshold_)).sum(dim=1))
        if error > self.alpha:
            warnings.warn(
                f"the correction for noisy labels is itself too noisy for alpha = {self.alpha:g}: with these "
                f"{self.samples_} samples it adds a standard error of {error:.2g} to the estimated coverage, and sets "
                "will hold the label too seldom; use more samples, cleaner labels, or a larger alpha",
                stacklevel=3,
            )

    def _shares(self, labels: Tensor, classes: int) -> Tensor:
        """Return, for each sample and class, how much the class counts as the clean label: rows of the inverse of P."""
        if isinstance(self.noise, Tensor):
            if len(self.noise) != classes:
                raise ValueError(
                    f"noise is a matrix of {len(self.noise)} classes, got predictions of {classes}; they must agree"
                )
            inverse, info = torch.linalg.inv_ex(self.noise.double())
            if info != 0 or not inverse.isfinite().all():
                raise ValueError("the noise matrix has no inverse: some classes cannot be told apart by their labels")
            rows: Tensor = inverse.to(labels.device)[labels]
            return rows
        shares = torch.full((len(labels), classes), -self.noise / classes, dtype=torch.float64, device=labels.device)
        shares[torch.arange(len(labels), device=labels.device), labels] += 1
        return shares / (1 - self.noise)

    def _reserve(self) -> float:
        """Return by how many samples coverage is raised for the guarantee at delta."""
        if self.delta is None or isinstance(self.noise, Tensor):
            return 0.0
        shrunk = (1 - self.noise) / (1 + self.noise)
        return self.samples_ * math.sqrt(math.log(4 / self.delta) / (2 * self.samples_)) / shrunk

    def _enough(self) -> int:
        """Return the least n with ``(n + 1)(1 - alpha)`` and the reserve at most n: a quadratic in its root."""
        per_root = self._reserve() / math.sqrt(self.samples_)
        root = (per_root + math.sqrt(per_root**2 + 4 * self.alpha * (1 - self.alpha))) / (2 * self.alpha)
        return math.ceil(round(root**2, _DIGITS))

    def _added_error(self, counted: Float[Tensor, " N"]) -> float:
        """Return the standard error of the estimated coverage, beyond that of clean labels."""
        added = counted.var(correction=0).item() - self.alpha * (1 - self.alpha)
        return math.sqrt(max(0.0, added) / self.samples_)

    def _cutoffs(self, groups: Int64[Tensor, " N"] | None) -> Float[Tensor, ""]:
        return torch.tensor(self.threshold_, dtype=torch.float64, device=self.scores_.device)

    def _p_values(
        self, scores: Float[Tensor, "N C"], groups: Int64[Tensor, " N"] | None, draws: Float[Tensor, " N"] | None
    ) -> Float[Tensor, "N C"]:
        covered = torch.cat([self.covered_.new_zeros(1), self.covered_])
        below = covered[torch.searchsorted(self.scores_, scores)]
        left = self.samples_ + 1 - below
        if draws is not None:
            up_to = covered[torch.searchsorted(self.scores_, scores, right=True)]
            left = self.samples_ - up_to + draws[:, None] * (1 + up_to - below)
        least = 1 if draws is None else draws[:, None]
        return torch.maximum(left + self._reserve(), left.new_zeros(()) + least).clamp_max(self.samples_ + 1) / (
            self.samples_ + 1
        )


def _check_noise(noise: float | Tensor) -> None:
    if not isinstance(noise, Number):
        check_tensors(noise=noise)
    if not isinstance(noise, Tensor):
        if not 0 <= noise < 1:
            raise ValueError(f"noise must be a share in [0, 1), got {noise}; at 1 the labels say nothing")
        return
    square = noise.ndim == 2 and noise.shape[0] == noise.shape[1] and noise.is_floating_point()
    if not square or (noise < 0).any() or not ((noise.sum(dim=1) - 1).abs() <= _SUM_TOLERANCE).all():
        raise ValueError(
            "noise must be a (C, C) matrix of probabilities whose rows, one for each clean class, sum to one, got "
            f"shape {tuple(noise.shape)} and row sums {noise.sum(dim=-1).tolist()}"
        )
