"""Parametric recalibration maps as plain loops over Python floats: their losses, straight from their formulas."""

import math


def log_softmax(row):
    """Log-probabilities of one row of logits."""
    top = max(row)
    norm = top + math.log(math.fsum(math.exp(z - top) for z in row))
    return [z - norm for z in row]


def affine(row, matrix, intercept):
    """Log-probabilities of softmax(W ln p + b)."""
    logits = [
        math.fsum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in zip(matrix, intercept, strict=True)
    ]
    return log_softmax(logits)


def mean_loss(mapped, labels, weights=None):
    """Weighted mean of minus the label's log-probability."""
    weights = weights or [1.0] * len(labels)
    total = math.fsum(-w * row[label] for row, label, w in zip(mapped, labels, weights, strict=True))
    return total / math.fsum(weights)


def structured_objective(scaled, labels, matrix, intercept, strength, weights=None):
    """Mean log loss plus strength/n (C |diag D|^2 + C |b|^2 + C (C-1) |offdiag D|^2)."""
    classes = len(intercept)
    samples = math.fsum(weights) if weights else len(labels)
    penalty = 0.0
    for i in range(classes):
        penalty += classes * intercept[i] ** 2
        for j in range(classes):
            if i == j:
                penalty += classes * (matrix[i][j] - 1) ** 2
            else:
                penalty += classes * (classes - 1) * matrix[i][j] ** 2
    mapped = [affine(row, matrix, intercept) for row in scaled]
    return mean_loss(mapped, labels, weights) + strength * penalty / samples


def odir_objective(log_probs, labels, matrix, intercept, off_diagonal, on_intercept):
    """Mean log loss plus the mean squared entry off the diagonal and of the intercept, each times its strength."""
    classes = len(intercept)
    off = [matrix[i][j] ** 2 for i in range(classes) for j in range(classes) if i != j]
    penalty = off_diagonal * math.fsum(off) / len(off) + on_intercept * math.fsum(b * b for b in intercept) / classes
    return mean_loss([affine(row, matrix, intercept) for row in log_probs], labels) + penalty


def mixture_loss(log_probs, labels, temperature, mixing):
    """Mean log loss of w1 softmax(z/T) + w2 softmax(z) + w3/C."""
    total = 0.0
    for row, label in zip(log_probs, labels, strict=True):
        scaled = math.exp(log_softmax([x / temperature for x in row])[label])
        total -= math.log(mixing[0] * scaled + mixing[1] * math.exp(row[label]) + mixing[2] / len(row))
    return total / len(labels)


def logistic_loss(features, targets, coefficients, weights=None):
    """Weighted mean cross-entropy of the sigmoid of a weighted sum of features."""
    weights = weights or [1.0] * len(targets)
    total = 0.0
    for row, target, weight in zip(features, targets, weights, strict=True):
        logit = math.fsum(c * x for c, x in zip(coefficients, row, strict=True))
        total += weight * (max(logit, 0.0) + math.log1p(math.exp(-abs(logit))) - target * logit)
    return total / math.fsum(weights)


def platt_targets(hits):
    """Targets of Platt's paper in place of ones and zeros."""
    right = sum(hits)
    wrong = len(hits) - right
    return [(right + 1) / (right + 2) if hit else 1 / (wrong + 2) for hit in hits]


def gradient(function, point, step=1e-5):
    """Central differences."""
    slopes = []
    for i in range(len(point)):
        up, down = list(point), list(point)
        up[i] += step
        down[i] -= step
        slopes.append((function(up) - function(down)) / (2 * step))
    return slopes
