"""Mondrian conformal prediction, by Vovk, Gammerman and Shafer (2005): a threshold for each kind of sample."""

import math
import warnings
from abc import abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._conformal_quantile import too_few
from trueline.conformal._p_values import shares_above
from trueline.conformal._split import SplitConformal
from trueline.contracts import ConformalClassifier, Reference
from trueline.numerics import conformal_rank

MONDRIAN = Reference(
    authors="Vladimir Vovk, Alexander Gammerman, Glenn Shafer",
    title="Algorithmic Learning in a Random World",
    venue="Springer",
    year=2005,
    doi="10.1007/b106715",
)
_NAMED = 8  # cells that a warning names one by one


class WrappedConformal(ConformalClassifier):
    """A conformal classifier that takes scores and options from a split conformal one and decides thresholds anew.

    Args:
        method: whose scores to use. It stays unfitted.
    """

    def __init__(self, method: SplitConformal) -> None:
        if not isinstance(method, SplitConformal):
            raise TypeError(
                f"{type(self).__name__} wraps a method with one threshold, such as LAC(0.1), got a "
                f"{type(method).__name__}"
            )
        self.method = method
        self.alpha = method.alpha
        self.randomised = method.randomised
        self.allow_empty = method.allow_empty
        self.seed = method.seed

    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        return self.method._scores(log_probs, draws)


def check_unwrapped(method: ConformalClassifier) -> None:
    """Refuse a method whose own way of calibration would be lost where its scores and alpha alone are used.

    Args:
        method: must not have thresholds by cell or for noisy labels.

    Raises:
        ValueError: if it has.
    """
    if method.takes_groups or isinstance(method, WrappedConformal):
        raise ValueError(
            f"{type(method).__name__} has a calibration of its own, which would not be used here; pass the method it "
            "wraps"
        )


class ConformalByCell(WrappedConformal):
    """Cuts the pairs of sample and class into cells, and takes a conformal quantile in each cell."""

    exact_coverage = False
    threshold_: Float[Tensor, " T"]
    scores_: Float[Tensor, " n"]
    cells_: Int64[Tensor, " n"]

    @abstractmethod
    def _calibration_cells(
        self, own: Float[Tensor, " N"], labels: Int64[Tensor, " N"], groups: Tensor | None, draws: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"], list[str]]:
        """Return scores of labels, the cell of each, and the name of every cell; empty for one that needs no samples.

        Rows may be left out.
        """

    @abstractmethod
    def _cell_of(self, groups: Int64[Tensor, " N"] | None) -> Int64[Tensor, "..."]:
        """Return the cell of every sample and class, in a shape that broadcasts to (N, C)."""

    def _calibrate(
        self,
        scores: Float[Tensor, "N C"],
        labels: Int64[Tensor, " N"],
        groups: Int64[Tensor, " N"] | None,
        draws: Float[Tensor, " N"],
    ) -> None:
        own = scores.gather(1, labels[:, None]).squeeze(1)
        own, cells, names = self._calibration_cells(own, labels, groups, draws)
        self.scores_, order = own.sort()
        self.cells_ = cells[order]
        sizes = torch.bincount(cells, minlength=len(names)).tolist()
        in_cell = torch.split(self.scores_[self.cells_.argsort(stable=True)], sizes)
        ranks = [conformal_rank(size, self.alpha) for size in sizes]
        self.threshold_ = torch.tensor(
            [
                part[rank - 1].item() if rank <= len(part) else math.inf
                for part, rank in zip(in_cell, ranks, strict=True)
            ],
            dtype=torch.float64,
            device=own.device,
        )
        few = [name for name, size, rank in zip(names, sizes, ranks, strict=True) if rank > size and name]
        if few:
            named = ", ".join(few[:_NAMED]) + (f" and {len(few) - _NAMED} more" if len(few) > _NAMED else "")
            warnings.warn(too_few(f"those of {named}", self.alpha), stacklevel=3)

    def _cutoffs(self, groups: Int64[Tensor, " N"] | None) -> Float[Tensor, "..."]:
        return self.threshold_[self._cell_of(groups)]

    def _p_values(
        self, scores: Float[Tensor, "N C"], groups: Int64[Tensor, " N"] | None, draws: Float[Tensor, " N"] | None
    ) -> Float[Tensor, "N C"]:
        # A score's place among all calibration scores, with its cell in front, is its place among those of the cell:
        # one binary search finds the first, one more the second, whatever the number of cells.
        cell = self._cell_of(groups).expand(scores.shape)
        sizes = torch.bincount(self.cells_, minlength=len(self.threshold_))
        before = sizes.cumsum(0) - sizes
        stride = len(self.scores_) + 1
        keys = (self.cells_ * stride + torch.searchsorted(self.scores_, self.scores_)).sort().values

        def count(right: bool) -> Tensor:
            place = torch.searchsorted(self.scores_, scores.contiguous(), right=right)
            return torch.searchsorted(keys, cell * stride + place) - before[cell]

        below, up_to = count(False), count(True) if draws is not None else None
        return shares_above(below, up_to, sizes[cell], None if draws is None else draws[:, None])
