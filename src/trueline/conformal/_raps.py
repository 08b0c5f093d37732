"""Regularised adaptive prediction sets, by Angelopoulos, Bates, Malik and Jordan (2021)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._ranking import by_class, mass_so_far, ranking
from trueline.conformal._split import RandomisedSplitConformal
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Anastasios N. Angelopoulos, Stephen Bates, Jitendra Malik, Michael I. Jordan",
        title="Uncertainty Sets for Image Classifiers using Conformal Prediction",
        venue="ICLR",
        year=2021,
        arxiv="2009.14193",
    ),
    cost="one sort of each row; one sort of the n calibration scores",
)
class RAPS(RandomisedSplitConformal):
    """Takes classes as :class:`APS` does, but makes those of a high rank expensive, so that sets stay small.

    ``S(y) = Σ_{rank < o} p + U·p_y + penalty·max(o - k_reg, 0)`` for the rank o of y, the first being 1. A penalty of 0
    is APS; a very large one makes sets of at most k_reg classes, if enough labels are among those.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        penalty: what each rank above ``k_reg`` adds to the score, at least 0 (the paper's λ).
        k_reg: how many ranks are free, at least 0. :func:`tune_raps` chooses both.
        randomised: whether to use U; else every U is 1.
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.
        seed: decides U together with a sample's index.

    Attributes:
        threshold_: the largest score in a set; may be above 1.
        scores_: (n,) the calibration scores in ascending order.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.5, 0.3, 0.2]])
        >>> RAPS(0.1, penalty=1, k_reg=1, randomised=False).scores(probs=probs)
        tensor([[0.5000, 1.8000, 3.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        alpha: float,
        *,
        penalty: float = 0.01,
        k_reg: int = 5,
        randomised: bool = True,
        allow_empty: bool = True,
        seed: int = 0,
    ) -> None:
        if not 0 <= penalty < math.inf:
            raise ValueError(f"penalty must be finite and at least 0, got {penalty}")
        if k_reg < 0:
            raise ValueError(f"k_reg must be at least 0, got {k_reg}; it counts ranks without a penalty")
        super().__init__(alpha, randomised=randomised, allow_empty=allow_empty, seed=seed)
        self.penalty = penalty
        self.k_reg = k_reg

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        ordered, classes = ranking(log_probs)
        rank = torch.arange(1, log_probs.shape[1] + 1, dtype=log_probs.dtype, device=log_probs.device)
        return by_class(mass_so_far(ordered, draws) + self.penalty * (rank - self.k_reg).clamp_min(0), classes)
