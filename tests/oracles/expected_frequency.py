"""The expected frequency of one map, one coefficient at a time."""

import cmath
import math
from collections.abc import Sequence


def average_ranks(values: Sequence[float]) -> list[float]:
    """Rank every entry by counting: those below it, and half of those beside it."""
    return [
        1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def ring_powers(image: Sequence[Sequence[float]], *, rank: bool) -> list[list[float]]:
    """Return ``|F|²`` of every coefficient by ring, from the definition of the transform."""
    height, width = len(image), len(image[0])
    flat = [value for row in image for value in row]
    if rank:
        flat = [value / len(flat) for value in average_ranks(flat)]
    rings: dict[int, list[float]] = {}
    for v in range(-(height // 2), (height + 1) // 2):
        for u in range(-(width // 2), (width + 1) // 2):
            coefficient = sum(
                flat[y * width + x] * cmath.exp(-2j * math.pi * (v * y / height + u * x / width))
                for y in range(height)
                for x in range(width)
            )
            rings.setdefault(math.isqrt(v * v + u * u), []).append(abs(coefficient) ** 2)
    return [rings[ring] for ring in range(max(rings) + 1)]


def expected_frequency(
    image: Sequence[Sequence[float]], *, rank: bool, remove_dc: bool, ring: str, reduce: str
) -> float:
    """Return the number from the powers of the rings."""
    powers = [sum(ones) / (len(ones) if ring == "mean" else 1) for ones in ring_powers(image, rank=rank)]
    last = len(powers) - 1
    total = sum(powers[1:] if remove_dc else powers)
    value = sum(power * place / last for place, power in enumerate(powers)) / total
    return value / len(powers) if reduce == "mean" else value
