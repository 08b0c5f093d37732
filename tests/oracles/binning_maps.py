"""Non-parametric maps of one score, one sample at a time in plain Python floats."""

import bisect
import itertools
import math

from oracles.isotonic import isotonic_fit


def isotonic_at(scores, hits, s, weights=None):
    """The isotonic fit at a score, on the straight line between its neighbours, constant outside."""
    fitted = dict(zip(scores, isotonic_fit(scores, hits, weights), strict=True))
    known = sorted({x for x, w in zip(scores, weights or [1] * len(scores), strict=True) if w > 0})
    if s <= known[0]:
        return fitted[known[0]]
    if s >= known[-1]:
        return fitted[known[-1]]
    right = known[bisect.bisect_left(known, s)]
    left = known[bisect.bisect_right(known, s) - 1]
    if left == right:
        return fitted[left]
    return fitted[left] + (fitted[right] - fitted[left]) * (s - left) / (right - left)


def venn_abers(scores, hits, s, weights=None):
    """Refit with the new sample as a zero, and as a one."""
    weights = list(weights or [1.0] * len(scores))
    return tuple(isotonic_fit([*scores, s], [*hits, added], [*weights, 1.0])[-1] for added in (0.0, 1.0))


def cuts(scores, bins, weights=None):
    """Edges midway between the distinct scores where the weight below is nearest to m/M of all; the lower of two."""
    weights = weights or [1.0] * len(scores)
    distinct = sorted({x for x, w in zip(scores, weights, strict=True) if w > 0})
    total = math.fsum(weights)
    below = [math.fsum(w for x, w in zip(scores, weights, strict=True) if x < edge) for edge in distinct[1:]]
    edges = []
    for m in range(1, bins):
        if below:
            misses = [abs(mass - total * m / bins) for mass in below]
            place = next(i for i, miss in enumerate(misses) if miss <= min(misses) + 1e-9 * total)
            edges.append((distinct[place] + distinct[place + 1]) / 2)
    return edges


def means(scores, values, edges, weights=None):
    """Weighted mean of the values between the edges; None in a bin without weight."""
    weights = weights or [1.0] * len(scores)
    result = []
    for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
        inside = [i for i in range(len(scores)) if low < scores[i] <= high and weights[i] > 0]
        mass = math.fsum(weights[i] for i in inside)
        result.append(math.fsum(weights[i] * values[i] for i in inside) / mass if inside else None)
    return result


def bbq(scores, hits, s, strength=2.0):
    """Average over the numbers of bins, with products of Beta functions in logarithms."""
    n = len(scores)
    lowest = max(1, math.floor(n ** (1 / 3) / 10))
    evidence, answers = [], []
    for bins in range(lowest, max(lowest, min(math.ceil(n / 5), math.ceil(10 * n ** (1 / 3)))) + 1):
        edges = sorted(set(cuts(scores, bins)))
        log_evidence, answer = 0.0, None
        for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
            inside = [hits[i] for i in range(n) if low < scores[i] <= high]
            ends = [0.0 if x == -math.inf else 1.0 if x == math.inf else 1 / (1 + math.exp(-x)) for x in (low, high)]
            prior = min(max(sum(ends) / 2, 0.005), 0.995)
            a, b = strength * prior, strength * (1 - prior)
            right, wrong = sum(inside), len(inside) - sum(inside)
            log_evidence += log_beta(right + a, wrong + b) - log_beta(a, b)
            if low < s <= high:
                answer = (right + a) / (len(inside) + strength)
        evidence.append(log_evidence)
        answers.append(answer)
    best = max(evidence)
    shares = [math.exp(e - best) for e in evidence]
    return math.fsum(w * a for w, a in zip(shares, answers, strict=True)) / math.fsum(shares)


def log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def spline_corrections(probs, hits, knots):
    """Slope of the least-squares natural cubic spline through the accumulated errors, by truncated powers."""
    import numpy as np

    n = len(probs)
    order = sorted(range(n), key=lambda i: probs[i])
    place = [(rank + 0.5) / n for rank in range(n)]
    running, total = 0.0, []
    for i in order:
        total.append((running + (hits[i] - probs[i]) / 2) / n)
        running += hits[i] - probs[i]
    at = [k / (knots - 1) for k in range(knots)]

    def cubes(t, k, power):
        factor = {3: 1.0, 2: 3.0}[power]
        return factor * (max(t - at[k], 0) ** power - max(t - at[-1], 0) ** power) / (at[-1] - at[k])

    def row(t):
        return [1.0, t] + [cubes(t, k, 3) - cubes(t, knots - 2, 3) for k in range(knots - 2)]

    def slope(t):
        return [0.0, 1.0] + [cubes(t, k, 2) - cubes(t, knots - 2, 2) for k in range(knots - 2)]

    fitted = np.linalg.lstsq(np.array([row(t) for t in place]), np.array(total), rcond=None)[0]
    corrections = [0.0] * n
    for t, i in zip(place, order, strict=True):
        corrections[i] = float(np.dot(slope(t), fitted))
    return corrections


def h_loss(probs, labels, window, bins, tolerance=0.0):
    """The h loss of distinct probabilities and an odd window, entry by entry."""
    entries = sorted((p, float(labels[i] == k)) for i, row in enumerate(probs) for k, p in enumerate(row))
    residuals = [p - e for p, e in entries]
    hinges = []
    for j in range(len(entries)):
        inside = residuals[max(0, j - window // 2) : j + window // 2 + 1]
        hinges.append(max(abs(math.fsum(inside)) / window - tolerance, 0))
    edges = [round(m * len(entries) / bins - 1e-6) for m in range(bins + 1)]  # the lower of two that are equally near
    return math.fsum(math.fsum(hinges[low:high]) / (high - low) for low, high in itertools.pairwise(edges)) / bins
