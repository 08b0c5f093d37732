"""Calibration measures and temperature scaling as plain loops over Python floats, straight from their formulas."""

import math
from fractions import Fraction


def top_labels(probs):
    """(confidence, prediction) of each row; ties go to the lowest class."""
    pairs = []
    for row in probs:
        best = 0
        for k, p in enumerate(row):
            if p > row[best]:
                best = k
        pairs.append((row[best], best))
    return pairs


def width_bins(scores, bins):
    """The bin of each score among (m/M, (m+1)/M], the first closed at 0."""
    result = []
    for score in scores:
        place = 0
        while place < bins - 1 and score > (place + 1) / bins:
            place += 1
        result.append(place)
    return result


def mass_bins(scores, bins):
    """Cut the sorted scores into equal runs; a cut inside a tie moves below it, or above the lowest tie."""
    ordered = sorted(scores)
    cuts, rank = set(), 0
    for run in range(bins - 1):
        rank += len(scores) // bins + (1 if run < len(scores) % bins else 0)
        place = rank
        while 0 < place < len(ordered) and ordered[place] == ordered[place - 1]:
            place -= 1
        if place == 0:
            place = rank
            while place < len(ordered) and (place == 0 or ordered[place] == ordered[place - 1]):
                place += 1
        cuts.add(place)
    return [sum(cut < len(ordered) and score >= ordered[cut] for cut in cuts) for score in scores]


def weighted_mass_bins(scores, bins, weights):
    """The same for integer weights, exactly: runs of whole samples of mean weight, cut between distinct scores."""
    present = [(score, weight) for score, weight in zip(scores, weights, strict=True) if weight > 0]
    values = sorted({score for score, _ in present})
    cuts, rank = set(), 0
    for run in range(bins - 1):
        rank += len(present) // bins + (1 if run < len(present) % bins else 0)
        point = Fraction(rank * sum(weights), len(present))
        for place, value in enumerate(values):
            if point < sum(weight for score, weight in present if score <= value):
                cuts.add(max(place, 1))
                break
    return [sum(cut < len(values) and score >= values[cut] for cut in cuts) for score in scores]


def table(scores, outcomes, index, weights=None):
    """{bin: (sum of weights, mean score, mean outcome, sum of squared weights)} over the bins that hold a sample."""
    weights = weights or [1.0] * len(scores)
    rows = {}
    for b in set(index):
        own = [i for i in range(len(scores)) if index[i] == b]
        w = math.fsum(weights[i] for i in own)
        c = math.fsum(weights[i] * scores[i] for i in own) / w
        a = math.fsum(weights[i] * outcomes[i] for i in own) / w
        rows[b] = (w, c, a, math.fsum(weights[i] ** 2 for i in own))
    return rows


def calibration_error(scores, outcomes, index, norm=1, debias=False, weights=None):
    """The error of one column of scores for bins chosen in advance."""
    weights = weights or [1.0] * len(scores)
    samples = [row for row in zip(scores, outcomes, index, weights, strict=True) if row[3] > 0]
    rows = table(*zip(*samples, strict=True)).values()
    if norm == math.inf:
        return max(abs(c - a) for _, c, a, _ in rows)
    total = 0.0
    for weight, c, a, squared in rows:
        count = weight**2 / squared
        term = abs(c - a) ** norm
        if debias and norm == 2:
            term = term - a * (1 - a) / (count - 1) if count > 1 else 0.0
        if debias and norm == 1:
            term = 2 * term - folded_normal_mean(c - a, math.sqrt(a * (1 - a) / count))
        total += weight / math.fsum(weights) * term
    return max(total, 0.0) ** (1 / norm)


def ks_error(scores, outcomes, weights=None):
    """The largest gap accumulated up to any score."""
    weights = weights or [1.0] * len(scores)
    gaps = [
        math.fsum(w * (s - a) for s, a, w in zip(scores, outcomes, weights, strict=True) if s <= threshold)
        for threshold in scores
    ]
    return max(abs(gap) for gap in gaps) / math.fsum(weights)


def smooth_error(scores, outcomes, width, weights=None, nodes=800, images=3):
    """The smoothed gap by the trapezoid rule, its kernel summed over the images of every score beyond 0 and 1."""
    weights = weights or [1.0] * len(scores)
    area = 0.0
    for k in range(nodes + 1):
        t = k / nodes
        density = 0.0
        for s, a, w in zip(scores, outcomes, weights, strict=True):
            for m in range(-images, images + 1):
                for image in (2 * m + s, 2 * m - s):
                    density += w * (s - a) * math.exp(-(((t - image) / width) ** 2) / 2)
        area += (0.5 if k in (0, nodes) else 1.0) * abs(density) / nodes
    return area / (width * math.sqrt(2 * math.pi)) / math.fsum(weights)


def smooth_error_at_its_own_width(scores, outcomes, weights=None):
    """The smoothed gap at the upper end of ten halvings of [0, 1] towards the width that equals it."""
    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        if middle < 0.001 or middle < smooth_error(scores, outcomes, middle, weights):
            low = middle
        else:
            high = middle
    return smooth_error(scores, outcomes, high, weights)


def null_errors(scores, index, weights=None):
    """[(probability, calibration error)] of every set of outcomes that calibrated scores can have."""
    results = []
    for code in range(2 ** len(scores)):
        outcomes = [code >> i & 1 for i in range(len(scores))]
        chance = math.prod(s if a else 1 - s for s, a in zip(scores, outcomes, strict=True))
        results.append((chance, calibration_error(scores, outcomes, index, weights=weights)))
    return results


def folded_normal_mean(mean, deviation, cells=20_000):
    """E|X| of a normal X by the trapezoid rule over ten deviations."""
    if deviation == 0:
        return abs(mean)
    step = 20 / cells
    total = 0.0
    for i in range(cells + 1):
        t = -10 + i * step
        density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        total += (0.5 if i in (0, cells) else 1.0) * abs(mean + deviation * t) * density * step
    return total


def mean_log_loss(logits, labels, temperature, weights=None):
    """Weighted mean negative log-likelihood of softmax(logits / temperature)."""
    weights = weights or [1.0] * len(labels)
    total = 0.0
    for row, label, weight in zip(logits, labels, weights, strict=True):
        scaled = [z / temperature for z in row]
        top = max(scaled)
        total += weight * (top + math.log(math.fsum(math.exp(z - top) for z in scaled)) - scaled[label])
    return total / math.fsum(weights)


def best_temperature(logits, labels, weights=None):
    """Golden-section search for the temperature, on the loss itself and not its derivative."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -5.0, 5.0
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        losses = [mean_log_loss(logits, labels, math.exp(u), weights) for u in (left, right)]
        if losses[0] < losses[1]:
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
