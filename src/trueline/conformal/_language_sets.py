"""Conformal language modelling: sets of sampled answers, by Quach et al. (2024)."""

import math
import warnings
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.conformal._binomial_cdf import binomial_cdf
from trueline.conformal._sampled_sets import STOPPING, grid_pairs, kept_answers, quantiles, set_scores
from trueline.contracts import Fittable, Reference, check_tensors, method

S = TypeVar("S", bound="LanguageSets")

QUACH = Reference(
    authors="Victor Quach, Adam Fisch, Tal Schuster, Adam Yala, Jae Ho Sohn, Tommi S. Jaakkola, Regina Barzilay",
    title="Conformal Language Modeling",
    venue="ICLR",
    year=2024,
    arxiv="2306.10193",
)
LEARN_THEN_TEST = Reference(
    authors="Anastasios N. Angelopoulos, Stephen Bates, Emmanuel J. Candès, Michael I. Jordan, Lihua Lei",
    title="Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control",
    venue="arXiv",
    year=2021,
    arxiv="2110.01052",
)

_BLOCK = 1 << 22  # entries of similarities held at once


@dataclass(frozen=True, eq=False)
class LanguageSet:
    """Which of K sampled answers are in the set of each of N prompts.

    Args:
        kept: whether an answer is in the set.
        draws: how many answers have to be sampled for a prompt; those after are not looked at.
        abstained: whether no setting was found to be safe; the sets are empty then and promise nothing.
    """

    kept: Bool[Tensor, "N K"]
    draws: Int64[Tensor, " N"]
    abstained: bool


@method(
    QUACH,
    LEARN_THEN_TEST,
    cost="at most grid³ settings on the samples for their choice, O(grid²·N·K²); then one pass over the calibration "
    "samples for each setting that is tested",
)
class LanguageSets(Fittable):
    """Keeps sampling answers until a set of them holds an acceptable one with the wanted probability.

    Answers are drawn one by one. One is left out if its quality is below λ_2 or its similarity to one that is kept
    above λ_1; else it is kept. Drawing stops once the score of the kept answers reaches λ_3, or after K draws. The
    score is the number of draws (``"first"``), the largest quality kept (``"max"``), their sum (``"sum"``), or
    ``-Σ ln max(1 - q, 1e-8)`` (``"geometric"``, for qualities that are probabilities of an answer being acceptable).

    The λ are found by learn-then-test. On a part of the samples all settings on a grid of quantiles are tried, and
    those kept that no other beats in both risk (no acceptable answer in the set) and effort (draws plus set size). On
    the others they are tested in the order of their risk, safest first, with the binomial p-value ``P(Bin(n, risk) <=
    failures)``, until one exceeds ``delta``. The last one before is used. With probability at least ``1 - delta`` over
    the samples the risk of new prompts is at most ``risk``. If already the first test fails, no λ is safe: a warning is
    given and the object abstains.

    Args:
        risk: allowed share of sets without an acceptable answer, in (0, 1).
        delta: probability that the risk is exceeded all the same, in (0, 1).
        stopping: the score of a set.
        grid: number of quantiles tried for each λ.
        share: part of the samples that chooses the settings to be tested, in (0, 1).
        seed: chooses that part.

    Attributes:
        thresholds_: (3,) λ_1, λ_2 and λ_3.
        p_values_: (T,) p-values of the settings tested, in order; the last one may be above ``delta``.
        abstains_: whether no setting is safe.

    Example:
        >>> import torch
        >>> quality = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
        >>> sets = LanguageSets(0.3, stopping="max").fit(quality > 0.5, quality=quality)
        >>> found = sets.predict(quality=torch.tensor([[0.2, 0.9, 0.8, 0.1]]))
        >>> found.draws.tolist(), found.kept.tolist()
        ([2], [[False, True, False, False]])
    """

    thresholds_: Float[Tensor, " 3"]
    p_values_: Float[Tensor, " T"]
    abstains_: bool

    def __init__(
        self,
        risk: float,
        *,
        delta: float = 0.05,
        stopping: Literal["first", "max", "sum", "geometric"] = "max",
        grid: int = 25,
        share: float = 0.3,
        seed: int = 0,
    ) -> None:
        for name, value in (("risk", risk), ("delta", delta), ("share", share)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
        if stopping not in STOPPING:
            raise ValueError(f"stopping must be one of {', '.join(STOPPING)}, got {stopping!r}")
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        self.risk = risk
        self.delta = delta
        self.stopping = stopping
        self.grid = grid
        self.share = share
        self.seed = seed

    def fit(
        self: S,
        acceptable: Bool[Tensor, "N K"],
        *,
        quality: Float[Tensor, "N K"],
        similarity: Float[Tensor, "N K K"] | None = None,
    ) -> S:
        """Choose the thresholds from judged answers; an earlier fit is forgotten.

        Args:
            acceptable: (N, K) whether each sampled answer is acceptable, in the order of sampling.
            quality: (N, K) their qualities, finite, such as a likelihood; in [0, 1] for ``"geometric"``.
            similarity: (N, K, K) of pairs of answers, finite; the larger of both directions counts. None if answers
                are not compared.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes differ, a value is not what is described above or there are fewer than two samples.
            TypeError: if a dtype is wrong.
        """
        values, alike = self._read(quality, similarity)
        check_tensors(acceptable=acceptable)
        if acceptable.dtype != torch.bool:
            raise TypeError(f"acceptable must be bool, got {acceptable.dtype}; convert with acceptable.bool()")
        if acceptable.shape != values.shape or len(values) < 2:
            raise ValueError(
                f"acceptable and quality must have one shape (N, K), N >= 2, got {tuple(acceptable.shape)} and "
                f"{tuple(values.shape)}"
            )
        order = torch.randperm(len(values), generator=torch.Generator().manual_seed(self.seed)).to(values.device)
        first = min(max(1, round(self.share * len(values))), len(values) - 1)
        tried, tested = order[:first], order[first:]
        settings = self._worth_testing(acceptable[tried], values[tried], None if alike is None else alike[tried])
        with self._learning():
            p_values, safe = [], None
            for setting in settings:
                kept = self._sets(setting, values[tested], None if alike is None else alike[tested])[0]
                failures = int((~(kept & acceptable[tested]).any(dim=1)).sum())
                p_values.append(binomial_cdf(failures, len(tested), self.risk))
                if p_values[-1] > self.delta:
                    break
                safe = setting
            self.p_values_ = torch.tensor(p_values, dtype=torch.float64, device=values.device)
            self.abstains_ = safe is None
            self.thresholds_ = settings[0] if safe is None else safe
            if safe is None:
                warnings.warn(
                    f"no setting keeps the risk below {self.risk:g}: the safest has the p-value {p_values[0]:.3g}, "
                    f"above {self.delta:g}; the sets will be empty. Allow more risk, sample more answers or judge more "
                    "prompts",
                    stacklevel=2,
                )
        return self

    def predict(
        self, *, quality: Float[Tensor, "N K"], similarity: Float[Tensor, "N K K"] | None = None
    ) -> LanguageSet:
        """Return the set of answers of each prompt.

        Args:
            quality: (N, K) qualities of sampled answers, in the order of sampling.
            similarity: (N, K, K) of pairs of answers, if the fit had them.

        Returns:
            The answers that are kept, and how many had to be drawn. All sets are empty if the object abstains.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if a value is not what is described above.
        """
        self._check_fitted()
        values, alike = self._read(quality, similarity)
        if alike is None and self.thresholds_[0] < math.inf:
            raise ValueError("this object was fitted with similarities; pass similarity= here too")
        kept, draws = self._sets(self.thresholds_, values, alike)
        return LanguageSet(kept & (not self.abstains_), draws, self.abstains_)

    def _sets(self, setting: Tensor, values: Tensor, alike: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = kept_answers(values, alike, setting[None, :2])
        reached = set_scores(values, kept, self.stopping).cummax(dim=2).values < setting[2]
        draws = (reached.sum(dim=2)[0] + 1).clamp_max(values.shape[1])
        drawn = torch.arange(values.shape[1], device=values.device) < draws[:, None]
        return kept[0] & drawn, draws

    def _worth_testing(self, acceptable: Tensor, values: Tensor, alike: Tensor | None) -> list[Tensor]:
        """Return the settings that no other beats in risk and effort, those of least risk first."""
        pairs = grid_pairs(values, alike, self.grid)
        everything = torch.ones(1, *values.shape, dtype=torch.bool, device=values.device)
        limits = quantiles(set_scores(values, everything, self.stopping), self.grid)
        risks, efforts = [], []
        rows = max(1, _BLOCK // (values.numel() * max(len(limits), values.shape[1])))
        for block in torch.split(pairs, rows):
            kept = kept_answers(values, alike, block)
            scores = set_scores(values, kept, self.stopping).cummax(dim=2).values
            wanted = limits.expand(*scores.shape[:2], -1).contiguous()
            last = torch.searchsorted(scores.contiguous(), wanted).clamp_max(values.shape[1] - 1)
            failed = ~(kept & acceptable).cummax(dim=2).values.gather(2, last)
            sizes = kept.cumsum(dim=2).gather(2, last)
            risks.append(failed.double().mean(dim=1))
            efforts.append((last + 1 + sizes).double().mean(dim=1))
        risk, effort = torch.cat(risks).flatten(), torch.cat(efforts).flatten()
        settings = torch.cat([pairs.repeat_interleave(len(limits), dim=0), limits.repeat(len(pairs))[:, None]], dim=1)
        order = effort.argsort(stable=True)
        order = order[risk[order].argsort(stable=True)]
        least = effort[order].cummin(dim=0).values
        better = torch.cat([least.new_ones(1).bool(), least[1:] < least[:-1]])
        return list(settings[order[better]])

    def _read(self, quality: Tensor, similarity: Tensor | None) -> tuple[Tensor, Tensor | None]:
        check_tensors(quality=quality, similarity=similarity)
        for name, values, axes in (("quality", quality, 2), ("similarity", similarity, 3)):
            if values is None:
                continue
            if not values.is_floating_point():
                raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
            if values.ndim != axes or values.numel() == 0 or not values.isfinite().all():
                shape = "(N, K)" if axes == 2 else "(N, K, K)"
                raise ValueError(f"{name} must be finite and of shape {shape}, got {tuple(values.shape)}")
        if self.stopping == "geometric" and not ((quality >= 0) & (quality <= 1)).all():
            raise ValueError("quality must lie in [0, 1] for stopping='geometric': it is a probability there")
        if similarity is None:
            return quality.detach().double(), None
        if similarity.shape != (*quality.shape, quality.shape[1]):
            raise ValueError(f"similarity must have shape (N, K, K), got {tuple(similarity.shape)}")
        alike = similarity.detach().double()
        return quality.detach().double(), torch.maximum(alike, alike.transpose(1, 2))
