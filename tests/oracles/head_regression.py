"""Explanatory regressions, agreement of heads and ranks, number by number."""

import math


def least_squares(rows: list[list[float]], targets: list[float]) -> list[float]:
    """Return intercept and coefficients from the normal equations, by Gaussian elimination."""
    wide = [[1.0, *row] for row in rows]
    size = len(wide[0])
    system = [
        [sum(row[i] * row[j] for row in wide) for j in range(size)]
        + [sum(row[i] * target for row, target in zip(wide, targets, strict=True))]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(system[row][i]))
        system[i], system[pivot] = system[pivot], system[i]
        for other in range(size):
            if other != i:
                factor = system[other][i] / system[i][i]
                system[other] = [a - factor * b for a, b in zip(system[other], system[i], strict=True)]
    return [system[i][size] / system[i][i] for i in range(size)]


def explained(targets: list[float], predicted: list[float]) -> float:
    """Return one minus the ratio of the squared errors to those of the mean."""
    mean = sum(targets) / len(targets)
    rest = sum((t - p) ** 2 for t, p in zip(targets, predicted, strict=True))
    return 1 - rest / sum((t - mean) ** 2 for t in targets)


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Return Spearman's coefficient with mean ranks for ties."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]

    a, b = ranks(first), ranks(second)
    mean = (len(a) + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    return covariance / math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))


def head_angle(first: list[list[float]], second: list[list[float]]) -> float:
    """Return the angle in degrees of two lists of rows (w, b) after taking away the mean row of each."""

    def centred(rows: list[list[float]]) -> list[float]:
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return [value - mean for row in rows for value, mean in zip(row, means, strict=True)]

    a, b = centred(first), centred(second)
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return math.degrees(math.acos(product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))))
