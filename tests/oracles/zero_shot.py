"""Seen and unseen accuracies by predicting every sample anew at each gamma, in plain Python."""

import itertools


def predicted(scores, seen, gamma):
    shifted = [s - gamma * k for s, k in zip(scores, seen, strict=True)]
    return shifted.index(max(shifted))


def accuracies(rows, labels, seen, gamma, weights=None):
    """Mean over classes of the accuracy in each, for the seen and for the unseen classes."""
    weights = weights or [1.0] * len(rows)
    result = []
    for kind in (True, False):
        by_class = {}
        for row, y, w in zip(rows, labels, weights, strict=True):
            if seen[y] == kind:
                right, total = by_class.get(y, (0.0, 0.0))
                by_class[y] = (right + w * (predicted(row, seen, gamma) == y), total + w)
        shares = [right / total for right, total in by_class.values() if total > 0]
        result.append(sum(shares) / len(shares))
    return tuple(result)


def area(rows, labels, seen, weights=None):
    """Trapezoids between the accuracies just below and just above each gamma at which a prediction can change."""
    leads = sorted(
        {
            max(s for s, k in zip(row, seen, strict=True) if k)
            - max(s for s, k in zip(row, seen, strict=True) if not k)
            for row in rows
        }
    )
    gaps = [b - a for a, b in itertools.pairwise(leads)]
    step = min([*gaps, 1.0]) / 4
    total = 0.0
    for lead in leads:
        seen_before, unseen_before = accuracies(rows, labels, seen, lead - step, weights)
        seen_after, unseen_after = accuracies(rows, labels, seen, lead + step, weights)
        total += (unseen_after - unseen_before) * (seen_before + seen_after) / 2
    return total
