"""Conformal classification straight from its definitions, in plain Python loops."""

import math


def quantile(scores, alpha, weights=None, test_weight=1.0):
    """The smallest s whose calibration mass reaches 1 - alpha of all mass, the test point's included; else infinity."""
    weights = weights or [1.0] * len(scores)
    total = math.fsum(weights) + test_weight
    for s in sorted(scores):
        mass = math.fsum(w for w, t in zip(weights, scores, strict=True) if t <= s)
        if mass >= (1 - alpha) * total - 1e-9 and mass > 0:
            return s
    return math.inf


def p_value(calibration, score, draw=None):
    above = sum(s > score for s in calibration)
    ties = sum(s == score for s in calibration)
    if draw is None:
        return (1 + above + ties) / (len(calibration) + 1)
    return (above + draw * (1 + ties)) / (len(calibration) + 1)


def ranks(probs):
    """1 for the most probable class; of equal ones the lower class comes first."""
    order = sorted(range(len(probs)), key=lambda k: (-probs[k], k))
    return [order.index(k) + 1 for k in range(len(probs))]


def lac(probs, draw=1.0):
    return [-math.log(p) for p in probs]


def margin(probs, draw=1.0):
    return [max(q for j, q in enumerate(probs) if j != k) - p for k, p in enumerate(probs)]


def aps(probs, draw=1.0):
    place = ranks(probs)
    return [
        math.fsum(q for q, r in zip(probs, place, strict=True) if r < place[k]) + draw * p for k, p in enumerate(probs)
    ]


def raps(probs, draw=1.0, penalty=0.01, k_reg=5):
    return [s + penalty * max(r - k_reg, 0) for s, r in zip(aps(probs, draw), ranks(probs), strict=True)]


def saps(probs, draw=1.0, rank_weight=0.2):
    top = max(probs)
    return [draw * top if r == 1 else top + (r - 2 + draw) * rank_weight for r in ranks(probs)]


def thresholds_by_cell(scores, cells, num_cells, alpha):
    return [quantile([s for s, c in zip(scores, cells, strict=True) if c == cell], alpha) for cell in range(num_cells)]


def noisy_coverage(scores, labels, noise, threshold):
    """The estimated coverage of the clean labels, from coverage of the noisy ones and the mean share of all classes."""
    n, classes = len(scores), len(scores[0])
    noisy = sum(row[label] <= threshold for row, label in zip(scores, labels, strict=True)) / n
    size = sum(s <= threshold for row in scores for s in row) / n
    return min((noisy - noise * size / classes) / (1 - noise), size)


def noise_aware_threshold(scores, labels, noise, alpha):
    n = len(scores)
    if math.ceil((n + 1) * (1 - alpha) - 1e-9) > n:
        return math.inf
    for candidate in sorted(row[label] for row, label in zip(scores, labels, strict=True)):
        if n * noisy_coverage(scores, labels, noise, candidate) >= (n + 1) * (1 - alpha) - 1e-9:
            return candidate
    return math.inf
