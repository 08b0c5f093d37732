"""Representers in plain loops over samples and features, and slow fits whose minima they take apart."""

import math

import torch


def softmax(scores):
    """Return probabilities from a list of scores."""
    largest = max(scores)
    parts = [math.exp(score - largest) for score in scores]
    return [part / sum(parts) for part in parts]


def sigmoid(score):
    """Return the probability of log-odds."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


def l2(features, labels, points, weight, bias, weight_decay, *, penalised_bias, classes):
    """Return contributions[m][i] to the logit of classes[m], and the gradient of the penalised mean loss."""
    samples = len(features)
    slopes = []
    for x, y in zip(features, labels, strict=True):
        scores = [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        slopes.append([p - (c == y) for c, p in enumerate(softmax(scores))])
    contributions = [
        [
            -slopes[i][c] / (samples * weight_decay)
            * (sum(a * b for a, b in zip(features[i], point, strict=True)) + penalised_bias)
            for i in range(samples)
        ]
        for point, c in zip(points, classes, strict=True)
    ]  # fmt: skip
    gradient = [
        [
            sum(slopes[i][c] * features[i][j] for i in range(samples)) / samples + weight_decay * weight[c][j]
            for j in range(len(features[0]))
        ]
        for c in range(len(weight))
    ]
    return contributions, gradient


def l1(features, labels, points, weight, strength, *, logistic):
    """Return contributions[m][i]."""
    samples = len(features)
    contributions = []
    for point in points:
        row = []
        for x, y in zip(features, labels, strict=True):
            score = sum(w * v for w, v in zip(weight, x, strict=True))
            slope = (sigmoid(score) if logistic else score) - y
            similarity = sum(abs(w) * a * b for w, a, b in zip(weight, x, point, strict=True))
            row.append(-slope / (samples * strength) * similarity)
        contributions.append(row)
    return contributions


def nuclear(entries, ratings, points, theta, strength, view):
    """Return contributions[m][i] of ``"rows"`` or ``"columns"``, for the squared loss."""
    left, values, right = torch.linalg.svd(theta, full_matrices=False)
    like_rows = (left * values) @ left.T
    like_columns = (right.T * values) @ right
    contributions = []
    for r, c in points:
        row = []
        for (i, j), y in zip(entries, ratings, strict=True):
            coefficient = -(theta[i, j].item() - y) / (len(entries) * strength)
            if view == "rows":
                row.append(coefficient * like_rows[r, i].item() if j == c else 0.0)
            else:
                row.append(coefficient * like_columns[c, j].item() if i == r else 0.0)
        contributions.append(row)
    return contributions


def complete(rows, columns, ratings, shape, strength, *, logistic=False, steps=20_000):
    """Return the matrix of smallest mean loss plus nuclear norm, by gradient steps and shrunk singular values."""
    theta = torch.zeros(shape, dtype=torch.float64)
    samples = len(ratings)
    length = samples * (4 if logistic else 1)  # the loss of one entry bends by no more than 1 / samples of this
    for _ in range(steps):
        found = theta[rows, columns]
        slope = torch.zeros_like(theta)
        slope[rows, columns] = ((found.sigmoid() if logistic else found) - ratings) / samples
        left, values, right = torch.linalg.svd(theta - length * slope, full_matrices=False)
        new = (left * (values - length * strength).clamp_min(0)) @ right
        done = (new - theta).norm() <= 1e-14 * new.norm()
        theta = new
        if done:
            break
    return theta


def factorise(rows, columns, ratings, shape, rank, strength, generator, *, sweeps=3000):
    """Return factors at a stationary point of the mean squared loss with ridge penalties, by alternating solves."""
    first = torch.randn(shape[0], rank, generator=generator, dtype=torch.float64)
    second = torch.randn(shape[1], rank, generator=generator, dtype=torch.float64)
    ridge = len(ratings) * strength * torch.eye(rank, dtype=torch.float64)
    for _ in range(sweeps):
        for mine, other, here, there in ((first, second, rows, columns), (second, first, columns, rows)):
            for place in range(len(mine)):
                seen = other[there[here == place]]
                mine[place] = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ ratings[here == place])
    return first, second
