"""Class-conditional (label-conditional Mondrian) conformal prediction, by Vovk, Gammerman and Shafer (2005)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import MONDRIAN, ConformalByCell
from trueline.contracts import method


@method(
    MONDRIAN,
    cost="the wrapped scores; two sorts of the n calibration scores",
)
class ClassConditional(ConformalByCell):
    """Gives every class a threshold of its own, so that every class is covered as often as agreed.

    Class y is in the set if ``S(y) <= q_y``, with q_y the conformal quantile of the calibration samples of class
    y: ``P(y in set | label = y) >= 1 - alpha`` for every y. A class of fewer than ``1/alpha - 1`` samples, or of none,
    is in every set; a warning names them. For many classes of few samples see :class:`ClusterConditional`.

    Args:
        method: whose scores to use, such as ``APS(0.1)``. It stays unfitted.

    Attributes:
        threshold_: (C,) the largest score of each class in a set, infinite for classes with too few samples.
        scores_: (n,) the calibration scores in ascending order.
        cells_: (n,) their labels.

    Example:
        >>> import torch
        >>> from trueline.conformal import LAC
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> by_class = ClassConditional(LAC(0.5)).fit(torch.tensor([0, 0, 1, 1]), probs=probs)
        >>> (-by_class.threshold_).exp()
        tensor([0.8000, 0.4000], dtype=torch.float64)
    """

    holds_top_classes = False

    def _calibration_cells(
        self, own: Float[Tensor, " N"], labels: Int64[Tensor, " N"], groups: Tensor | None, draws: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"], list[str]]:
        return own, labels, [f"class {k}" for k in range(self.num_classes_)]

    def _cell_of(self, groups: Int64[Tensor, " N"] | None) -> Int64[Tensor, "1 C"]:
        return torch.arange(self.num_classes_, device=self.threshold_.device)[None, :]
