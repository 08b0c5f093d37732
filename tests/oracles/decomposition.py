"""Decompositions of scores as plain loops over Python floats, straight from their formulas."""

import math

from oracles.isotonic import isotonic_fit


def brier_parts(probs, labels, bins_of, weights=None):
    """(REL, RES, UNC, WBV, WBC) added up over classes; ``bins_of(column)`` gives the bin of each probability."""
    weights = weights or [1.0] * len(labels)
    total = math.fsum(weights)
    parts = [0.0] * 5
    for k in range(len(probs[0])):
        f = [row[k] for row in probs]
        y = [1.0 if label == k else 0.0 for label in labels]
        overall = math.fsum(w * o for w, o in zip(weights, y, strict=True)) / total
        parts[2] += overall * (1 - overall)
        index = bins_of(f)
        for b in set(index):
            own = [i for i in range(len(f)) if index[i] == b and weights[i] > 0]
            if not own:
                continue
            mass = math.fsum(weights[i] for i in own)
            mean_f = math.fsum(weights[i] * f[i] for i in own) / mass
            mean_y = math.fsum(weights[i] * y[i] for i in own) / mass
            parts[0] += mass / total * (mean_f - mean_y) ** 2
            parts[1] += mass / total * (mean_y - overall) ** 2
            parts[3] += math.fsum(weights[i] * (f[i] - mean_f) ** 2 for i in own) / total
            parts[4] += 2 * math.fsum(weights[i] * (f[i] - mean_f) * (y[i] - mean_y) for i in own) / total
    return parts


def corp_parts(confidence, hits, score, weights=None):
    """(score, MCB, DSC, UNC) of a confidence, with the isotonic fit of the max-min formula."""
    weights = weights or [1.0] * len(hits)
    total = math.fsum(weights)
    accuracy = math.fsum(w * a for w, a in zip(weights, hits, strict=True)) / total

    def loss(c, a):
        if score == "brier":
            return (c - a) ** 2
        return -math.log(c) if a else -math.log(1 - c)

    def mean(forecasts):
        return math.fsum(w * loss(c, a) for w, c, a in zip(weights, forecasts, hits, strict=True) if w > 0) / total

    best = mean(isotonic_fit(confidence, hits, weights))
    given, constant = mean(confidence), mean([accuracy] * len(hits))
    return given, given - best, constant - best, constant
