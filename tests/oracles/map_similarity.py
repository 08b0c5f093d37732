"""Comparisons of two maps, entry by entry and pair by pair, in plain Python."""

import math
from collections.abc import Sequence


def top_k(first: Sequence[float], second: Sequence[float], k: int) -> float:
    """Share of the k largest entries in common, where ties for the last places share them."""
    return sum(min(a, b) for a, b in zip(_places(first, k), _places(second, k), strict=True)) / k


def _places(values: Sequence[float], k: int) -> list[float]:
    found = []
    for value in values:
        above = sum(other > value for other in values)
        tied = sum(other == value for other in values)
        found.append(min(max(k - above, 0) / tied, 1.0))
    return found


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b from all pairs."""
    alike = opposed = moved_first = moved_second = 0
    for i in range(len(first)):
        for j in range(i):
            a, b = _sign(first[i] - first[j]), _sign(second[i] - second[j])
            alike += a * b > 0
            opposed += a * b < 0
            moved_first += a != 0
            moved_second += b != 0
    size = math.sqrt(moved_first * moved_second)
    return (alike - opposed) / size if size else math.nan


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of average ranks."""
    a, b = _ranks(first), _ranks(second)
    middle = (len(a) + 1) / 2
    shared = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    sizes = sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b)
    return shared / math.sqrt(sizes) if sizes else math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def similarity_of_structure(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], window: int, value_range: float
) -> float:
    """SSIM with a Gaussian window of 1.5 pixels, mean over the windows inside."""
    reach = window // 2
    offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    raw = [math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i, j in offsets]
    weights = [weight / sum(raw) for weight in raw]
    level, contrast = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    found = []
    for y in range(reach, len(first) - reach):
        for x in range(reach, len(first[0]) - reach):
            a = [first[y + i][x + j] for i, j in offsets]
            b = [second[y + i][x + j] for i, j in offsets]
            mean_a = sum(w * v for w, v in zip(weights, a, strict=True))
            mean_b = sum(w * v for w, v in zip(weights, b, strict=True))
            var_a = sum(w * (v - mean_a) ** 2 for w, v in zip(weights, a, strict=True))
            var_b = sum(w * (v - mean_b) ** 2 for w, v in zip(weights, b, strict=True))
            both = sum(w * (v - mean_a) * (u - mean_b) for w, v, u in zip(weights, a, b, strict=True))
            found.append(
                (2 * mean_a * mean_b + level)
                * (2 * both + contrast)
                / ((mean_a**2 + mean_b**2 + level) * (var_a + var_b + contrast))
            )
    return sum(found) / len(found)


def centre_distance(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Distance of the centres of mass of absolute entries."""
    return math.dist(_centre(first), _centre(second))


def _centre(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    total = sum(abs(value) for row in values for value in row)
    down = sum(y * abs(value) for y, row in enumerate(values) for value in row)
    across = sum(x * abs(value) for row in values for x, value in enumerate(row))
    return down / total, across / total
