"""Scores of prompts and calibration by division, entry by entry, in plain Python floats."""

import math


def entropy(p):
    return -math.fsum(v * math.log(v) for v in p if v > 0)


def top(p):
    return p.index(max(p))


def mean(rows):
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def hard(p):
    return [float(i == top(p)) for i in range(len(p))]


def score(name, probs):
    """probs[t][x][y]; a list of T numbers, or of T lists of N numbers."""
    result = []
    for rows in probs:
        soft, crisp = entropy(mean(rows)), entropy(mean([hard(p) for p in rows]))
        local = [entropy(p) for p in rows]
        average = math.fsum(local) / len(local)
        agreed = 0
        for x, p in enumerate(rows):
            votes = [other[x] for other in probs]
            consensus = {
                "ZLP": mean([[math.log(v) for v in vote] for vote in votes]),
                "ZPM": mean(votes),
                "ZMV": mean([hard(vote) for vote in votes]),
            }.get(name)
            agreed += consensus is not None and top(p) == top(consensus)
        result.append(
            {
                "MI": soft - average,
                "MI_G": crisp - average,
                "MI_L": [soft - v for v in local],
                "MI_GL": [crisp - v for v in local],
                "GE": crisp,
                "GE_M": soft,
                "LE": average,
                "MDL": [-v for v in local],
                "MDL_M": -average,
            }.get(name, agreed / len(rows))
        )
    return result


def divided(rows, reference, normalise="sum"):
    result = []
    for p in rows:
        ratio = [v / r for v, r in zip(p, reference, strict=True)]
        ratio = [math.exp(v) for v in ratio] if normalise == "softmax" else ratio
        result.append([v / math.fsum(ratio) for v in ratio])
    return result
