"""Nearest rows of a fixed set of points, in blocks."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

_ENTRIES = 1 << 22  # numbers held at once


class Pool(NamedTuple):
    """Points that are searched, with what their distances to others have in common.

    Args:
        rows: (M,) where the points lie in the whole reference set.
        points: (M, D) float64, from which ``centre`` is subtracted.
        centre: (D,) mean of the points: differences of large numbers would cost digits.
        square: (M,) squared length of each point.
    """

    rows: Int64[Tensor, " M"]
    points: Float[Tensor, "M D"]
    centre: Float[Tensor, " D"]
    square: Float[Tensor, " M"]

    @staticmethod
    def of(reference: Float[Tensor, "R D"], rows: Int64[Tensor, " M"]) -> "Pool":
        """Return the pool of some rows of a reference set.

        Args:
            reference: (R, D) float64.
            rows: (M,) at least one.
        """
        points = reference[rows]
        centre = points.mean(dim=0)
        points = points - centre
        return Pool(rows, points, centre, points.square().sum(dim=1))

    def nearest(
        self, queries: Float[Tensor, "N D"], k: int, exclude: Int64[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "N k"], Int64[Tensor, "N k"]]:
        """Return distances and places in the pool of the k nearest points, nearest first.

        Args:
            queries: (N, D) float64.
            k: at most the number of points; a point that is left out counts, at an infinite distance.
            exclude: (N,) row of the reference set that a query shall not find, -1 for none; or None.
        """
        distances, places = [], []
        for part, place, hidden in self._blocks(queries, k, exclude):
            distance = (self.points[place] - part[:, None]).norm(dim=2)
            if hidden is not None:
                distance = distance.masked_fill(hidden, torch.inf)
            distance, order = distance.sort(dim=1, stable=True)
            distances.append(distance)
            places.append(place.gather(1, order))
        return torch.cat(distances), torch.cat(places)

    def mean_of_nearest(
        self, queries: Float[Tensor, "N D"], k: int, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N D"]:
        """Return the mean of the k nearest points; a query's own place where all are left out.

        Args:
            queries: (N, D) float64.
            k: at most the number of points.
            exclude: (N,) as in :meth:`nearest`.
        """
        means = []
        for part, place, hidden in self._blocks(queries, k, exclude):
            counts = torch.ones_like(place, dtype=torch.float64) if hidden is None else (~hidden).double()
            total = counts.sum(dim=1, keepdim=True)
            # A sum that never holds all the neighbours of all the queries at once.
            mean = F.embedding_bag(place, self.points, mode="sum", per_sample_weights=counts) / total.clamp_min(1)
            means.append(torch.where(total > 0, mean, part) + self.centre)
        return torch.cat(means)

    def _blocks(
        self, queries: Tensor, k: int, exclude: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield centred queries, the places of their k nearest points, and which of those are left out."""
        rows = max(1, _ENTRIES // max(len(self.points), k * self.points.shape[1]))
        for start in range(0, len(queries), rows):
            part = queries[start : start + rows] - self.centre
            # Which points are near needs one product; how near they are is then computed for these alone, exactly.
            score = torch.addmm(self.square, part, self.points.T, alpha=-2)
            hidden = None if exclude is None else self.rows == exclude[start : start + rows, None]
            if hidden is not None:
                score.masked_fill_(hidden, torch.inf)
            place = score.topk(k, dim=1, largest=False, sorted=False).indices
            yield part, place, None if hidden is None else hidden.gather(1, place)
