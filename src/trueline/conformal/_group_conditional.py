"""Group-conditional (Mondrian) conformal prediction, by Vovk, Gammerman and Shafer (2005)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import MONDRIAN, ConformalByCell
from trueline.conformal._split import SplitConformal
from trueline.contracts import method


@method(
    MONDRIAN,
    cost="the wrapped scores; two sorts of the n calibration scores",
)
class GroupConditional(ConformalByCell):
    """Gives every group of samples a threshold of its own, so that each is covered as often as agreed.

    The group of a sample must be known before its label: ``P(label in set | group = g) >= 1 - alpha`` for every g. A
    group of fewer than ``1/alpha - 1`` calibration samples gets sets of all classes, and a warning
    names it; so does a group that had none.

    Args:
        method: whose scores to use, such as ``APS(0.1)``. It stays unfitted.

    Attributes:
        groups_: (G,) the group numbers in ascending order.
        threshold_: (G + 1,) the largest score in a set of each group; the last is infinite, for any other group.
        scores_: (n,) the calibration scores in ascending order.
        cells_: (n,) their places in ``groups_``.

    Example:
        >>> import torch
        >>> from trueline.conformal import LAC
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([7, 7, 5, 5])
        >>> by_group = GroupConditional(LAC(0.5)).fit(labels, probs=probs, groups=groups)
        >>> by_group.predict_set(probs=torch.tensor([[0.7, 0.3], [0.7, 0.3]]), groups=torch.tensor([5, 7]))
        tensor([[ True, False],
                [False, False]])
    """

    takes_groups = True
    groups_: Int64[Tensor, " G"]

    def __init__(self, method: SplitConformal) -> None:
        super().__init__(method)
        self.holds_top_classes = method.holds_top_classes

    def _calibration_cells(
        self, own: Float[Tensor, " N"], labels: Int64[Tensor, " N"], groups: Tensor | None, draws: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"], list[str]]:
        assert groups is not None
        self.groups_, cells = torch.unique(groups.to(own.device), return_inverse=True)
        return own, cells, [*(f"group {group}" for group in self.groups_.tolist()), ""]

    def _cell_of(self, groups: Int64[Tensor, " N"] | None) -> Int64[Tensor, "N 1"]:
        assert groups is not None
        groups = groups.to(self.groups_.device)
        place = torch.searchsorted(self.groups_, groups).clamp_max(len(self.groups_) - 1)
        return torch.where(self.groups_[place] == groups, place, len(self.groups_))[:, None]
