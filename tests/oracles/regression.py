"""Predictive distributions, their scores and conformal intervals as plain loops over Python floats."""

import itertools
import math


def rank(n, alpha):
    """The conformal rank by counting: the first k whose share k/(n + 1) is at least 1 - alpha."""
    k = 1
    while k < n + 1 and k / (n + 1) < 1 - alpha - 1e-12:
        k += 1
    return k


def threshold(scores, alpha):
    k = rank(len(scores), alpha)
    return sorted(scores)[k - 1] if k <= len(scores) else math.inf


def p_value(scores, score):
    return (1 + sum(1 for s in scores if s >= score)) / (len(scores) + 1)


def cqr_intervals(y, lower, upper, alpha, new_lower, new_upper):
    q = threshold([max(lo - v, v - hi) for v, lo, hi in zip(y, lower, upper, strict=True)], alpha)
    return [(lo - q, hi + q) for lo, hi in zip(new_lower, new_upper, strict=True)]


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def mixture_cdf(weights, means, scales, x):
    return sum(w * normal_cdf((x - m) / s) for w, m, s in zip(weights, means, scales, strict=True))


def mixture_quantile(weights, means, scales, level):
    """By halving a bracket that surely holds it."""
    low, high = min(means) - 40 * max(scales), max(means) + 40 * max(scales)
    for _ in range(200):
        middle = (low + high) / 2
        if mixture_cdf(weights, means, scales, middle) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def grid_cdf(quantiles, levels, x):
    """The cdf through ascending quantiles: straight lines inside, exponential tails outside."""
    q, t = sorted(quantiles), levels
    if x < q[0]:
        scale = t[0] * (q[1] - q[0]) / (t[1] - t[0])
        return t[0] * math.exp((x - q[0]) / scale) if scale > 0 else 0.0
    if x >= q[-1]:
        scale = (1 - t[-1]) * (q[-1] - q[-2]) / (t[-1] - t[-2])
        return 1 - (1 - t[-1]) * math.exp(-(x - q[-1]) / scale) if scale > 0 else 1.0
    value = 0.0
    for i in range(len(q) - 1):
        if q[i] <= x:
            share = min(1.0, (x - q[i]) / (q[i + 1] - q[i])) if q[i + 1] > q[i] else 1.0
            value = t[i] + share * (t[i + 1] - t[i])
    return value


def crps(cdf, y, low, high, steps=20000):
    """The score by the midpoint rule on [low, high], cut at the outcome."""
    total = 0.0
    for start, end, target in ((low, y, 0.0), (y, high, 1.0)):
        width = (end - start) / steps
        total += width * sum((cdf(start + (i + 0.5) * width) - target) ** 2 for i in range(steps))
    return total


def calibration_error(pits, levels, power):
    total = 0.0
    for j in range(1, levels + 1):
        at = j / (levels + 1)
        total += abs(at - sum(1 for z in pits if z <= at) / len(pits)) ** power
    return total / levels


def sorted_calibration_error(pits, power):
    ordered, n = sorted(pits), len(pits)
    return sum(abs(z - (i + 1) / (n + 1)) ** power for i, z in enumerate(ordered)) / n


def linear_recalibration(pits, z):
    """The piecewise linear map at z, its corners made one by one."""
    n = len(pits)
    ranks = {}
    for i, value in enumerate(sorted(pits)):
        if 0 < value < 1:
            ranks.setdefault(value, []).append((i + 1) / (n + 1))
    corners = [(0.0, 0.0), *((value, sum(r) / len(r)) for value, r in sorted(ranks.items())), (1.0, 1.0)]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        if x0 <= z <= x1:
            return y0 + (z - x0) * (y1 - y0) / (x1 - x0)
    raise ValueError(z)


def kernel_recalibration(pits, z, sharpness):
    def total(x):
        return sum(1 / (1 + math.exp(-sharpness * (x - centre))) for pit in pits for centre in (pit, -pit, 2 - pit))

    return (total(z) - total(0.0)) / (total(1.0) - total(0.0))


def quantile_entropy(pits, spacing):
    z, n = sorted(pits), len(pits)
    logs = [math.log((n + 1) / spacing * (z[i + spacing] - z[i]) + 1e-5) for i in range(n - spacing)]
    return -sum(logs) / len(logs)


def selective_curve(y, mean, widths):
    """(width, coverage, mean squared error) for each distinct width, by filtering anew."""
    points = []
    for limit in sorted(set(widths)):
        errors = [(a - b) ** 2 for a, b, w in zip(y, mean, widths, strict=True) if w <= limit]
        points.append((limit, len(errors) / len(y), sum(errors) / len(errors)))
    return points


def selective_area(y, mean, widths, steps=200000):
    """The area under the normalised error, ties accepted in proportion, by the midpoint rule."""
    points = selective_curve(y, mean, widths)
    whole, total = points[-1][2], 0.0
    place, before, errors = 0, 0.0, 0.0
    for i in range(steps):
        at = (i + 0.5) / steps
        while at > points[place][1]:
            before, errors = points[place][1], points[place][1] * points[place][2]
            place += 1
        share = (points[place][1] * points[place][2] - errors) / (points[place][1] - before)
        total += (errors + (at - before) * share) / at
    return total / steps / whole


def truncated_distribution_penalty(y, quantiles, levels):
    total = 0.0
    for column, level in enumerate(levels):
        share = sum(v <= q[column] for v, q in zip(y, quantiles, strict=True)) / len(y)
        for v, q in zip(y, quantiles, strict=True):
            if share < level - 1e-9:
                total += max(v - q[column], 0)
            elif share > level + 1e-9:
                total += max(q[column] - v, 0)
    return total / len(y) / len(levels)


def quantile_coverage_penalty(y, quantiles, levels, sharpness):
    total = 0.0
    for column, level in enumerate(levels):
        above = sum(1 / (1 + math.exp(-sharpness * (v - q[column]))) for v, q in zip(y, quantiles, strict=True))
        total += max(1 - level - above / len(y), 0) ** 2 / (level * (1 - level))
    return total / len(levels)
