"""Adaptive prediction sets, by Romano, Sesia and Candès (2020)."""

from jaxtyping import Float
from torch import Tensor

from trueline.conformal._ranking import by_class, mass_so_far, ranking
from trueline.conformal._split import RandomisedSplitConformal
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Yaniv Romano, Matteo Sesia, Emmanuel J. Candès",
        title="Classification with Valid and Adaptive Coverage",
        venue="NeurIPS",
        year=2020,
        arxiv="2006.02544",
    ),
    cost="one sort of each row; one sort of the n calibration scores",
)
class APS(RandomisedSplitConformal):
    """Takes classes in descending order until their probabilities sum up to a learned share.

    With the classes ranked by probability and o the rank of y the score is ``S(y) = Σ_{rank < o} p + U·p_y``, with one
    uniform U for all classes of a sample. It never falls from rank to rank, so a set always holds the most probable
    classes. Easy and hard samples are covered more alike than by :class:`LAC`, by larger sets.

    Without randomisation U is 1, as in much code: sets are larger, most of all where the probabilities have a long
    tail, and empty where one class has more than the learned share.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        randomised: whether to use U; else every U is 1.
        allow_empty: whether a set may be empty. If not, the most probable class is added to empty sets, which covers
            more often than agreed.
        seed: decides U together with a sample's index.

    Attributes:
        threshold_: the learned share, about 1 - alpha for honest probabilities.
        scores_: (n,) the calibration scores in ascending order.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> aps = APS(0.4, randomised=False).fit(torch.tensor([0, 0, 1, 1]), probs=probs)
        >>> round(aps.threshold_, 3)
        0.9
        >>> aps.predict_set(probs=torch.tensor([[0.85, 0.15], [0.95, 0.05]]))
        tensor([[ True, False],
                [False, False]])
    """

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        ordered, classes = ranking(log_probs)
        return by_class(mass_so_far(ordered, draws), classes)
