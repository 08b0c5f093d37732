"""Jacobians by central differences, and singular values by one-sided Jacobi rotations, in plain loops."""

import math
from collections.abc import Callable


def jacobian(function: Callable[[list[float]], list[float]], at: list[float], width: float = 1e-5) -> list[list[float]]:
    """Rows are outputs, columns are inputs."""
    columns = []
    for place in range(len(at)):
        above, below = list(at), list(at)
        above[place] += width
        below[place] -= width
        pairs = zip(function(above), function(below), strict=True)
        columns.append([(high - low) / (2 * width) for high, low in pairs])
    return [list(row) for row in zip(*columns, strict=True)]


def singular_values(matrix: list[list[float]], sweeps: int = 30) -> list[float]:
    """Rotate pairs of rows until all are orthogonal; their lengths are the singular values, in descending order."""
    rows = [list(row) for row in matrix]
    for _ in range(sweeps):
        for first in range(len(rows)):
            for second in range(first + 1, len(rows)):
                a, b = rows[first], rows[second]
                along = sum(x * y for x, y in zip(a, b, strict=True))
                if along == 0:
                    continue
                angle = math.atan2(2 * along, sum(x * x for x in a) - sum(y * y for y in b)) / 2
                cos, sin = math.cos(angle), math.sin(angle)
                rows[first] = [cos * x + sin * y for x, y in zip(a, b, strict=True)]
                rows[second] = [cos * y - sin * x for x, y in zip(a, b, strict=True)]
    return sorted((math.sqrt(sum(x * x for x in row)) for row in rows), reverse=True)
