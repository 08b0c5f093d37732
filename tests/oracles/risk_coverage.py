"""Areas under the risk-coverage curve by slow routes, in plain Python floats."""

import math


def risk_at(confidence, misses, coverage, weights=None):
    """Accept samples by falling confidence until the share ``coverage`` is reached; ties in proportion."""
    weights = weights or [1.0] * len(misses)
    left = wanted = coverage * math.fsum(weights)
    errors = 0.0
    for level in sorted(set(confidence), reverse=True):
        own = [i for i in range(len(misses)) if confidence[i] == level]
        mass = math.fsum(weights[i] for i in own)
        if mass > 0:
            part = min(left, mass) / mass
            errors += part * math.fsum(weights[i] * misses[i] for i in own)
            left -= part * mass
    return errors / wanted


def area(confidence, misses, weights=None, cells=20_000):
    """The integral by the midpoint rule."""
    return math.fsum(risk_at(confidence, misses, (j + 0.5) / cells, weights) for j in range(cells)) / cells


def mean_over_samples(confidence, misses):
    """The mean over k of the share of errors among the k most confident, in the given order within ties."""
    order = sorted(range(len(misses)), key=lambda i: -confidence[i])
    errors, total = 0.0, 0.0
    for k, i in enumerate(order, start=1):
        errors += misses[i]
        total += errors / k
    return total / len(misses)
