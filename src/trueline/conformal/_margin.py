"""The margin score, by Johansson, Linusson, Löfström and Boström (2017)."""

from jaxtyping import Float
from torch import Tensor

from trueline.conformal._split import SplitConformal
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Ulf Johansson, Henrik Linusson, Tuve Löfström, Henrik Boström",
        title="Model-Agnostic Nonconformity Functions for Conformal Classification",
        venue="IJCNN",
        year=2017,
    ),
    cost="the two largest probabilities of each row; one sort of the n calibration scores",
)
class Margin(SplitConformal):
    """Puts every class into the set that is not far behind the most probable other class.

    The score is ``S(y) = max_{j ≠ y} p_j - p_y``, from -1 for a certain class to 1. It gives more sets of one class
    than :class:`LAC`, at the price of larger ones.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.

    Attributes:
        threshold_: the largest score in a set, a difference of probabilities in [-1, 1].
        scores_: (n,) the calibration scores in ascending order.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> round(Margin(0.2).fit(torch.tensor([0, 0, 1, 1]), probs=probs).threshold_, 3)
        0.2
    """

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        probs = log_probs.exp()
        top, place = probs.topk(2, dim=1)
        return (top[:, :1] - probs).scatter(1, place[:, :1], top[:, 1:] - top[:, :1])
