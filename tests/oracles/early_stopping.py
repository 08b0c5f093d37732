"""Conformalised early stopping as its definitions read: one sample, one outcome, one checkpoint at a time."""

import math
from collections.abc import Callable

Loss = Callable[[float, float], float]


def chosen(losses: list[float], own: list[float]) -> int:
    """The checkpoint with the smallest loss when that of the new sample counts, of ties the first."""
    best = 0
    for t in range(len(losses)):
        if losses[t] + own[t] < losses[best] + own[best]:
            best = t
    return best


def p_value(calibration: list[float], score: float) -> float:
    return (1 + sum(s >= score for s in calibration)) / (len(calibration) + 1)


def class_p_values(
    calibration: list[list[list[float]]], labels: list[int], test: list[list[float]], conditional: bool
) -> list[float]:
    """P-values of the classes of one sample, with log loss as loss and as score.

    Probabilities are calibration[t][i][y] and test[t][y].
    """
    totals = [sum(-math.log(row[y]) for row, y in zip(rows, labels, strict=True)) for rows in calibration]
    found = []
    for y in range(len(test[0])):
        t = chosen(totals, [-math.log(rows[y]) for rows in test])
        scores = [
            -math.log(row[label])
            for row, label in zip(calibration[t], labels, strict=True)
            if not conditional or label == y
        ]
        found.append(p_value(scores, -math.log(test[t][y])))
    return found


def regression_p_value(y: list[float], mean: list[list[float]], new: float, new_mean: list[float]) -> float:
    """P-value of one outcome by absolute errors; predictions are mean[t][i] and new_mean[t]."""
    totals = [sum((a - b) ** 2 for a, b in zip(y, row, strict=True)) for row in mean]
    t = chosen(totals, [(new - m) ** 2 for m in new_mean])
    return p_value([abs(a - b) for a, b in zip(y, mean[t], strict=True)], abs(new - new_mean[t]))


def pinball(error: float, tau: float) -> float:
    return tau * error if error >= 0 else (tau - 1) * error


def quantile_p_value(
    y: list[float],
    lower: list[list[float]],
    upper: list[list[float]],
    new: float,
    new_lower: list[float],
    new_upper: list[float],
    taus: tuple[float, float],
) -> float:
    """P-value of one outcome by the score of conformalised quantile regression."""
    pair = []
    for rows, row, tau in ((lower, new_lower, taus[0]), (upper, new_upper, taus[1])):
        totals = [sum(pinball(a - q, tau) for a, q in zip(y, values, strict=True)) for values in rows]
        pair.append(chosen(totals, [pinball(new - q, tau) for q in row]))
    low, high = lower[pair[0]], upper[pair[1]]
    scores = [max(q - a, a - r) for a, q, r in zip(y, low, high, strict=True)]
    return p_value(scores, max(new_lower[pair[0]] - new, new - new_upper[pair[1]]))
