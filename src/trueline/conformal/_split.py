"""Split conformal classification: one threshold for the scores of all classes."""

import math
import warnings

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._conformal_quantile import check_alpha, too_few
from trueline.conformal._p_values import counts_below, shares_above
from trueline.contracts import ConformalClassifier
from trueline.numerics import conformal_rank


class SplitConformal(ConformalClassifier):
    """A conformal classifier with one threshold, the conformal quantile of the calibration labels' scores.

    A method implements ``_scores`` alone. If the scores of calibration samples and of a further sample are exchangeable
    and distinct, the label is in the set with probability ``k/(n + 1)``, ``k = ⌈(n + 1)(1 - alpha)⌉``: at least
    1 - alpha and at most 1/(n + 1) more. Given the calibration samples coverage follows ``Beta(k, n + 1 - k)``.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.

    Attributes:
        threshold_: the largest score in a set; infinite if there are fewer than 1/alpha - 1 samples.
        scores_: (n,) the calibration scores in ascending order.
    """

    exact_coverage = True
    holds_top_classes = True
    threshold_: float
    scores_: Float[Tensor, " n"]

    def __init__(self, alpha: float, *, allow_empty: bool = True) -> None:
        check_alpha(alpha)
        self.alpha = alpha
        self.allow_empty = allow_empty

    def _calibrate(
        self,
        scores: Float[Tensor, "N C"],
        labels: Int64[Tensor, " N"],
        groups: Int64[Tensor, " N"] | None,
        draws: Float[Tensor, " N"],
    ) -> None:
        self.scores_ = scores.gather(1, labels[:, None]).squeeze(1).sort().values
        rank = conformal_rank(len(labels), self.alpha)
        if rank > len(labels):
            warnings.warn(too_few(f"only {len(labels)}", self.alpha), stacklevel=3)
        self.threshold_ = self.scores_[rank - 1].item() if rank <= len(labels) else math.inf

    def _cutoffs(self, groups: Int64[Tensor, " N"] | None) -> Float[Tensor, ""]:
        return torch.tensor(self.threshold_, dtype=torch.float64, device=self.scores_.device)

    def _p_values(
        self, scores: Float[Tensor, "N C"], groups: Int64[Tensor, " N"] | None, draws: Float[Tensor, " N"] | None
    ) -> Float[Tensor, "N C"]:
        below, up_to = counts_below(self.scores_, scores, ties=draws is not None)
        return shares_above(below, up_to, len(self.scores_), None if draws is None else draws[:, None])


class RandomisedSplitConformal(SplitConformal):
    """A split conformal classifier whose scores may depend on one uniform number U per sample.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        randomised: whether to use U; else every U is 1, and sets are larger.
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.
        seed: decides U together with a sample's index.
    """

    def __init__(self, alpha: float, *, randomised: bool = True, allow_empty: bool = True, seed: int = 0) -> None:
        super().__init__(alpha, allow_empty=allow_empty)
        self.randomised = randomised
        self.seed = seed
