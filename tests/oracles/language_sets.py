"""Conformal language modelling as its definition reads: one prompt, one draw, one setting at a time."""

import math


def answer_set(
    quality: list[float], similarity: list[list[float]] | None, setting: tuple[float, float, float], stopping: str
) -> tuple[list[int], int]:
    """The answers kept and the number of draws, for limits of similarity, quality and set score."""
    kept: list[int] = []
    best = -math.inf
    for k, value in enumerate(quality):
        alike = similarity is not None and any(max(similarity[k][i], similarity[i][k]) > setting[0] for i in kept)
        if value >= setting[1] and not alike:
            kept.append(k)
        own = [quality[i] for i in kept]
        score = {
            "first": k + 1,
            "max": max(own, default=-math.inf),
            "sum": sum(own),
            "geometric": -sum(math.log(max(1 - q, 1e-8)) for q in own),
        }[stopping]
        best = max(best, score)
        if best >= setting[2]:
            return kept, k + 1
    return kept, len(quality)


def binomial_cdf(successes: int, trials: int, rate: float) -> float:
    return sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(successes + 1))


def component_limit(worst: list[float], risk: float, delta: float) -> float:
    """The lowest limit whose test and all above it reject; -inf stands for a sample without wrong parts."""
    limit = math.inf
    for candidate in sorted(set(worst), reverse=True):
        failures = sum(w > candidate for w in worst)
        if binomial_cdf(failures, len(worst), risk) > delta:
            break
        limit = candidate
    return limit
