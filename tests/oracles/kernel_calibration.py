"""Calibration errors with kernels as plain loops over Python floats."""

import math

CLAMP = 1e-7


def _inside(p):
    return min(max(p, CLAMP), 1 - CLAMP)


def dirichlet(at, centre, h):
    """The density Dirichlet(at; centre/h + 1)."""
    alphas = [c / h + 1 for c in centre]
    log = math.lgamma(sum(alphas)) - math.fsum(math.lgamma(a) for a in alphas)
    return math.exp(log + math.fsum((a - 1) * math.log(x) for a, x in zip(alphas, at, strict=True)))


def frequencies(points, targets, h):
    """The kernel mean of the targets around each point, without the point itself."""
    found = []
    for i, at in enumerate(points):
        weights = [dirichlet(at, centre, h) if j != i else 0.0 for j, centre in enumerate(points)]
        found.append(
            [
                math.fsum(w * target[k] for w, target in zip(weights, targets, strict=True)) / math.fsum(weights)
                for k in range(len(targets[0]))
            ]
        )
    return found


def binary_error(scores, outcomes, h, norm):
    """The error of one event."""
    points = [[_inside(s), 1 - _inside(s)] for s in scores]
    found = frequencies(points, [[float(y)] for y in outcomes], h)
    terms = [abs(row[0] - s) ** norm for row, s in zip(found, scores, strict=True)]
    return (math.fsum(terms) / len(terms)) ** (1 / norm)


def canonical_error(probs, labels, h, norm):
    """The error of the whole vector of probabilities."""
    points = [[_inside(p) for p in row] for row in probs]
    hot = [[float(label == k) for k in range(len(probs[0]))] for label in labels]
    found = frequencies(points, hot, h)
    total = math.fsum(
        abs(f - p) ** norm for row, given in zip(found, probs, strict=True) for f, p in zip(row, given, strict=True)
    )
    return (total / len(probs)) ** (1 / norm)


def log_likelihood(scores, h):
    """The leave-one-out log-likelihood of distinct scores of one event."""
    points = [[_inside(s), 1 - _inside(s)] for s in scores]
    total = 0.0
    for i, at in enumerate(points):
        densities = [dirichlet(at, centre, h) for j, centre in enumerate(points) if j != i]
        total += math.log(math.fsum(densities) / len(densities))
    return total / len(points)


def density_error(confidence, hits, norm, cells=20_000):
    """The error by triweight kernels, with every sample and its images at 0 and 1, integrated by small steps."""
    n = len(confidence)
    right = [c for c, a in zip(confidence, hits, strict=True) if a]
    mean = math.fsum(right) / len(right)
    spread = math.sqrt(math.fsum((c - mean) ** 2 for c in right) / len(right))
    h = spread * (2 * n) ** -0.2

    def kernel(u):
        return 35 / 32 * (1 - u * u) ** 3 if abs(u) < 1 else 0.0

    total = 0.0
    for step in range(cells):
        x = (step + 0.5) / cells
        density = of_hits = 0.0
        for c, a in zip(confidence, hits, strict=True):
            value = sum(kernel((x - image) / h) for image in (c, -c, 2 - c)) / (n * h)
            density += value
            of_hits += value * a
        if density > 0:
            total += abs(x - of_hits / density) ** norm * density / cells
    return total ** (1 / norm)


def mean_embedding(confidence, hits, width, weights=None):
    """The double sum of the maximum mean calibration error."""
    weights = weights or [1.0] * len(hits)
    gaps = [w * (c - a) / sum(weights) for w, c, a in zip(weights, confidence, hits, strict=True)]
    return math.sqrt(
        max(
            0.0,
            math.fsum(
                r * s * math.exp(-abs(c - d) / width)
                for r, c in zip(gaps, confidence, strict=True)
                for s, d in zip(gaps, confidence, strict=True)
            ),
        )
    )
