"""Least ambiguous sets, by Sadinle, Lei and Wasserman (2019)."""

from jaxtyping import Float
from torch import Tensor

from trueline.conformal._split import SplitConformal
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Mauricio Sadinle, Jing Lei, Larry Wasserman",
        title="Least Ambiguous Set-Valued Classifiers with Bounded Error Levels",
        venue="Journal of the American Statistical Association",
        year=2019,
        arxiv="1609.00451",
    ),
    cost="one logarithm per prediction; one sort of the n calibration scores",
)
class LAC(SplitConformal):
    """Puts every class whose probability is high enough into the set: the smallest sets on average.

    The score is ``S(y) = -ln p_y``. Sets are those of the published score ``1 - p_y``, since both have one order, but
    this one does not run out of digits where p is below 1e-16. Hard samples are covered less often than easy ones.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        allow_empty: whether a set may be empty, as it is where no probability is high enough. If not, the most
            probable class is added to empty sets, which covers more often than agreed.

    Attributes:
        threshold_: the largest score in a set, in nats: classes of a probability of at least ``exp(-threshold_)`` are
            in it.
        scores_: (n,) the calibration scores in ascending order.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> lac = LAC(0.2).fit(torch.tensor([0, 0, 1, 1]), probs=probs)
        >>> round(lac.threshold_, 3)  # the label with probability 0.4
        0.916
        >>> lac.predict_set(probs=torch.tensor([[0.7, 0.3], [0.5, 0.5]]))
        tensor([[ True, False],
                [ True,  True]])
    """

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        return -log_probs
