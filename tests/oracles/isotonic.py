"""Isotonic regression straight from its max-min formula, in plain Python floats; cubic in the number of samples."""

import math


def isotonic_fit(scores, outcomes, weights=None):
    """g(s) = max over a <= s of the min over b >= s of the mean outcome of the scores in [a, b]."""
    weights = weights or [1.0] * len(scores)
    known = [i for i in range(len(scores)) if weights[i] > 0]
    levels = sorted({scores[i] for i in known})
    value = {}
    for s in levels:
        best = -math.inf
        for a in (level for level in levels if level <= s):
            least = math.inf
            for b in (level for level in levels if level >= s):
                inside = [i for i in known if a <= scores[i] <= b]
                mass = math.fsum(weights[i] for i in inside)
                least = min(least, math.fsum(weights[i] * outcomes[i] for i in inside) / mass)
            best = max(best, least)
        value[s] = best
    fitted = []
    for score in scores:
        lower = [level for level in levels if level <= score]
        fitted.append(value[lower[-1] if lower else levels[0]])
    return fitted
