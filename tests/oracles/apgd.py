"""Auto-PGD of one input, written out after the paper with the whole history kept, in plain Python floats."""

import math
from collections.abc import Callable

Vector = list[float]


def checkpoints(steps: int) -> list[int]:
    shares = [0.0, 0.22]
    while True:
        share = shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)
        if round(share, 9) > 1:
            return [math.ceil(round(share * steps, 9)) for share in shares[1:]]
        shares.append(share)


def project(point: Vector, centre: Vector, norm: str, radius: float) -> Vector:
    delta = [p - c for p, c in zip(point, centre, strict=True)]
    if norm == "linf":
        delta = [min(max(d, -radius), radius) for d in delta]
    else:
        length = math.sqrt(sum(d * d for d in delta))
        delta = [d * min(1.0, radius / length) for d in delta] if length else delta
    return [min(max(c + d, 0.0), 1.0) for c, d in zip(centre, delta, strict=True)]


def ascend(point: Vector, gradient: Vector, norm: str, size: float) -> Vector:
    if norm == "linf":
        return [p + size * ((g > 0) - (g < 0)) for p, g in zip(point, gradient, strict=True)]
    length = math.sqrt(sum(g * g for g in gradient))
    return [p + size * g / length for p, g in zip(point, gradient, strict=True)]


def apgd(
    loss: Callable[[Vector], tuple[float, Vector]], centre: Vector, start: Vector, norm: str, radius: float, steps: int
) -> list[Vector]:
    """Return every point at which ``loss`` is asked for its value and gradient."""
    points, values = [start], [loss(start)[0]]  # what was evaluated, in order
    current, before = start, start
    sizes, tops = [2 * radius], [values[0]]  # at the checkpoints
    last = 0
    for step in range(1, steps + 1):
        target = project(ascend(current, loss(current)[1], norm, sizes[-1]), centre, norm, radius)
        share = 0.75 if step > 1 else 1.0
        moved = [c + share * (t - c) + (1 - share) * (c - b) for c, t, b in zip(current, target, before, strict=True)]
        before, current = current, project(moved, centre, norm, radius)
        points.append(current)
        values.append(loss(current)[0])
        if step in checkpoints(steps):
            rises = sum(values[i + 1] > values[i] for i in range(last, step))
            first = rises <= 0.75 * (step - last)
            second = len(sizes) > 1 and sizes[-1] == sizes[-2] and max(values) <= tops[-1]
            if first or second:
                current = points[values.index(max(values))]
            sizes.append(sizes[-1] / 2 if first or second else sizes[-1])
            tops.append(max(values))
            last = step
    return points
