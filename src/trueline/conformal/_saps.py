"""Sorted adaptive prediction sets, by Huang, Xi, Zhang, Yao, Qiu and Wei (2024)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._ranking import by_class, ranking
from trueline.conformal._split import RandomisedSplitConformal
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Jianguo Huang, Huajun Xi, Linjun Zhang, Huaxiu Yao, Yue Qiu, Hongxin Wei",
        title="Conformal Prediction for Deep Classifier via Label Ranking",
        venue="ICML",
        year=2024,
        arxiv="2310.06430",
    ),
    cost="one sort of each row; one sort of the n calibration scores",
)
class SAPS(RandomisedSplitConformal):
    """Keeps of the probabilities only the largest; beyond that a class counts by its rank alone.

    ``S(y) = U·p_max`` for the most probable class and ``p_max + (o - 2 + U)·rank_weight`` for rank o above 1. Small
    probabilities, which deep networks get wrong, have no say. Choose the weight on samples that are used for nothing
    else.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        rank_weight: what each rank adds to the score, above 0 (the paper's λ).
        randomised: whether to use U; else every U is 1, and classes come into sets rank by rank.
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.
        seed: decides U together with a sample's index.

    Attributes:
        threshold_: the largest score in a set; may be above 1.
        scores_: (n,) the calibration scores in ascending order.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.5, 0.3, 0.2]])
        >>> SAPS(0.1, rank_weight=0.25, randomised=False).scores(probs=probs)
        tensor([[0.5000, 0.7500, 1.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        alpha: float,
        *,
        rank_weight: float = 0.2,
        randomised: bool = True,
        allow_empty: bool = True,
        seed: int = 0,
    ) -> None:
        if not 0 < rank_weight < math.inf:
            raise ValueError(f"rank_weight must be finite and above 0, got {rank_weight}")
        super().__init__(alpha, randomised=randomised, allow_empty=allow_empty, seed=seed)
        self.rank_weight = rank_weight

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        ordered, classes = ranking(log_probs)
        top, draw = ordered[:, :1], draws[:, None]
        rank = torch.arange(1, log_probs.shape[1] + 1, dtype=log_probs.dtype, device=log_probs.device)
        beyond = top + (rank[1:] - 2 + draw) * self.rank_weight
        return by_class(torch.cat([draw * top, beyond], dim=1), classes)
