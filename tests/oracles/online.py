"""Online calibrators one step at a time, in plain Python floats, with A inverted anew and the ball searched."""

import math


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def platt_features(z):
    return [z, 1.0]


def beta_features(z):
    f = sigmoid(z)
    return [math.log(f), -math.log(1 - f), 1.0]


def solved(matrix, right):
    """Gauss elimination with pivots."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(size):
            if r != i:
                share = rows[r][i] / rows[i][i]
                rows[r] = [a - share * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def projected(theta, matrix, radius):
    """(A + mu I)^-1 A theta, with mu found by halving."""
    size = len(theta)
    right = [sum(matrix[i][j] * theta[j] for j in range(size)) for i in range(size)]

    def at(mu):
        return solved([[matrix[i][j] + (mu if i == j else 0) for j in range(size)] for i in range(size)], right)

    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.hypot(*at(middle)) > radius else (low, middle)
    return at(high)


def online_newton(scores, labels, features, beta=0.1, diameter=1.0, radius=100.0):
    """Predictions, each before its label."""
    size = len(features(0.0))
    theta = [0.0] * size
    matrix = [[1 / (beta * diameter) ** 2 if i == j else 0.0 for j in range(size)] for i in range(size)]
    stated = []
    for z, y in zip(scores, labels, strict=True):
        x = features(z)
        p = sigmoid(sum(t * v for t, v in zip(theta, x, strict=True)))
        stated.append(p)
        gradient = [(p - y) * v for v in x]
        for i in range(size):
            for j in range(size):
                matrix[i][j] += gradient[i] * gradient[j]
        step = solved(matrix, gradient)
        theta = [t - s / beta for t, s in zip(theta, step, strict=True)]
        if math.hypot(*theta) > radius:
            theta = projected(theta, matrix, radius)
    return stated


def bin_of(p, bins):
    """The first bin (m/M, (m+1)/M] whose upper edge is not below p."""
    return next(m for m in range(bins) if p <= (m + 1) / bins)


def tracked(stated, labels, bins=10):
    outcomes = [[(m + 0.5) / bins] for m in range(bins)]  # the midpoint is one outcome
    result = []
    for p, y in zip(stated, labels, strict=True):
        inside = outcomes[bin_of(p, bins)]
        result.append(math.fsum(inside) / len(inside))
        inside.append(y)
    return result


def foster_choices(outcomes, pivot):
    """What Foster's forecaster may play: one cell, or two with their probabilities; outcomes[i] were seen in cell i."""
    cells = len(outcomes)
    average = [sum(o) / len(o) if o else (i + 0.5) / cells for i, o in enumerate(outcomes)]
    deficit = [i / cells - average[i] for i in range(cells)]
    excess = [average[i] - (i + 1) / cells for i in range(cells)]
    good = [i for i in range(cells) if deficit[i] <= 0 and excess[i] <= 0]
    if pivot in good:
        return {pivot: 1.0}
    if good:
        return {good[0]: 1.0}
    j = next(i for i in range(cells) if deficit[i] > 0)
    total = deficit[j] + excess[j - 1]
    return {j - 1: deficit[j] / total, j: excess[j - 1] / total}
