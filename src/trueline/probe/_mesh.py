"""Points of the input space at which a model runs at once, and the cells between them on which it is affine."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int16, Int64
from torch import Tensor


class Combination(NamedTuple):
    """Points that are each a weighted mean of points that are there.

    Args:
        rows: (n, k) the points.
        weights: (n, k) their weights, which sum to one.
    """

    rows: Int64[Tensor, "n k"]
    weights: Float[Tensor, "n k"]

    def of(self, values: Float[Tensor, "P *shape"]) -> Float[Tensor, "n *shape"]:
        """Return the weighted means of the values.

        Args:
            values: (P, ...) one row a point.
        """
        shape = (len(self.rows), *[1] * (values.ndim - 1))
        total = values[self.rows[:, 0]] * self.weights[:, 0].view(shape)
        for k in range(1, self.rows.shape[1]):
            total += values[self.rows[:, k]] * self.weights[:, k].view(shape)
        return total


class Mesh(ABC):
    """Points, which are only ever added, and cells, which are only ever cut.

    Every new point lies between two points of a cell on which all that the model has computed until then is affine, so
    that its values are weighted means of theirs.

    Args:
        points: how many points there are to begin with.
        limit: most points; infinity for any number.
    """

    def __init__(self, points: int, limit: float) -> None:
        self.points = points
        self.limit = limit
        self._added: list[Combination] = []  # by generation: later ones may lie between points of earlier ones

    def add(self, combination: Combination) -> None:
        """Add points.

        Args:
            combination: what they lie between.

        Raises:
            TooManyPointsError: if there would be more than the limit.
        """
        self._added.append(combination)
        self.points += len(combination.rows)
        if self.points > self.limit:
            raise TooManyPointsError

    def refine(self, values: Float[Tensor, "p *shape"]) -> Float[Tensor, "P *shape"]:
        """Return values at all points from those at the first ones.

        Args:
            values: (p, ...) one row for each point that was there when they were computed.
        """
        if len(values) == self.points:
            return values
        found = values.new_empty(self.points, *values.shape[1:])
        found[: len(values)] = values
        first = self.points
        later = []
        for combination in reversed(self._added):
            if first == len(values):
                break
            first -= len(combination.rows)
            later.append((first, combination))
        for first, combination in reversed(later):
            found[first : first + len(combination.rows)] = combination.of(found)
        return found

    @abstractmethod
    def split(self, values: Float[Tensor, "P U"]) -> None:
        """Add points until no column changes its sign inside a cell.

        Args:
            values: (P, U) affine functions on every cell, one a column.
        """

    @abstractmethod
    def split_windows(self, values: Float[Tensor, "P U"], members: Int64[Tensor, "W K"]) -> None:
        """Add points until in every cell the same column is the largest of each window.

        Args:
            values: (P, U) affine functions on every cell, one a column.
            members: (W, K) the columns of each window; -1 for none.
        """

    @abstractmethod
    def inside(self, count: int) -> Combination:
        """Return points inside some of the cells, to check on them whether a function is affine.

        Args:
            count: most cells.
        """


class TooManyPointsError(Exception):
    """More points than there is memory for."""


def largest_member(values: Float[Tensor, "P U"], members: Int64[Tensor, "W K"]) -> Int16[Tensor, "P W"]:
    """Return the place of the largest member of each window, the first of those that tie.

    Args:
        values: (P, U) one row a point.
        members: (W, K) the columns of each window; -1 for none.
    """
    largest = torch.full((len(values), len(members)), -torch.inf, dtype=values.dtype, device=values.device)
    place = torch.zeros(largest.shape, dtype=torch.int16, device=values.device)
    for k, columns in enumerate(members.T):
        mine = values[:, columns.clamp_min(0)].masked_fill(columns < 0, -torch.inf)
        place.masked_fill_(mine > largest, k)
        largest = torch.maximum(largest, mine)
    return place
