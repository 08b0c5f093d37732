"""Causal calibration sample by sample, in plain Python floats."""

import math

from oracles.isotonic import isotonic_fit


def doubly_robust(y, a, pi, above, below):
    mine = above if a else below
    chance = pi if a else 1 - pi
    return above - below + (2 * a - 1) / chance * (y - mine)


def step_value(effects, pseudo, weights, at):
    """The fitted value of the nearest effect at or below, or of the lowest."""
    fitted = isotonic_fit(effects, pseudo, weights)
    known = [i for i in range(len(effects)) if weights is None or weights[i] > 0]
    below = [i for i in known if effects[i] <= at]
    best = max(below, key=lambda i: effects[i]) if below else min(known, key=lambda i: effects[i])
    return fitted[best]


def lower_median(values):
    return sorted(values)[(len(values) - 1) // 2]


def gap_without(i, tau, chi, weights, place):
    others = [j for j in range(len(tau)) if j != i and place[j] == place[i]]
    mass = math.fsum(weights[j] for j in others)
    return math.fsum(weights[j] * (chi[j] - tau[j]) for j in others) / mass if others else 0.0


def squared_error(tau, chi, weights, place):
    terms = [weights[i] * (chi[i] - tau[i]) * gap_without(i, tau, chi, weights, place) for i in range(len(tau))]
    return math.fsum(terms) / math.fsum(weights)


def jackknife_error(statistic, *columns):
    """Standard error of a statistic by leaving out one sample at a time."""
    size = len(columns[0])
    values = [statistic(*([v for j, v in enumerate(c) if j != i] for c in columns)) for i in range(size)]
    mean = math.fsum(values) / size
    return math.sqrt((size - 1) / size * math.fsum((v - mean) ** 2 for v in values))
