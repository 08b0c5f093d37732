"""Neural collapse written out: loops over samples and classes, whole covariance matrices, pseudo-inverse."""

import itertools
import math
import statistics

import torch
from torch import Tensor


def collapse(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> dict[str, float]:
    """Return NC1 to NC4 of features with K classes, and of a head."""
    classes, samples, size = len(weight), len(features), features.shape[1]
    groups = [[row for row, label in zip(features, labels, strict=True) if label == k] for k in range(classes)]
    means = [sum(group) / len(group) for group in groups]
    centre = sum(means) / classes
    within, between = torch.zeros(size, size).double(), torch.zeros(size, size).double()
    for row, label in zip(features, labels, strict=True):
        within += torch.outer(row - means[label], row - means[label]) / samples
    for mean in means:
        between += torch.outer(mean - centre, mean - centre) / classes
    centred = torch.stack([mean - centre for mean in means], dim=1)
    disagreements = 0
    for row in features:
        nearest = min(range(classes), key=lambda k: (row - means[k]).norm().item())
        predicted = max(range(classes), key=lambda k: (weight[k] @ row + bias[k]).item())
        disagreements += nearest != predicted
    variances = [
        sum((row - mean).norm().item() ** 2 for row in g) / len(g) for g, mean in zip(groups, means, strict=True)
    ]
    pairs = itertools.combinations(range(classes), 2)
    terms = [(variances[a] + variances[b]) / (2 * (means[a] - means[b]).norm().item() ** 2) for a, b in pairs]
    found = {
        "nc1": (torch.trace(within @ torch.linalg.pinv(between, rtol=1e-10)) / classes).item(),
        "nc1_ratio": (torch.trace(within) / torch.trace(between)).item(),
        "cdnv": statistics.fmean(terms),
        "nc3": (weight.T / weight.norm() - centred / centred.norm()).norm().item(),
        "nc4": disagreements / samples,
    }
    for name, vectors in {"means": [mean - centre for mean in means], "head": list(weight)}.items():
        found |= {f"{name}.{measure}": value for measure, value in simplex(vectors).items()}
    return found


def simplex(vectors: list[Tensor]) -> dict[str, float]:
    """Return the distances of vectors from a simplex equiangular tight frame."""
    classes = len(vectors)
    lengths = [vector.norm().item() for vector in vectors]
    cosines = [(a @ b).item() / (a.norm() * b.norm()).item() for a, b in itertools.combinations(vectors, 2)]
    gram = torch.tensor([[(a @ b).item() for a in vectors] for b in vectors], dtype=torch.float64)
    frame = torch.tensor(
        [[(a == b) - 1 / classes for a in range(classes)] for b in range(classes)], dtype=torch.float64
    )
    return {
        "equinorm": statistics.pstdev(lengths) / statistics.fmean(lengths),
        "equiangularity": statistics.pstdev(cosines),
        "max_angle": statistics.fmean(abs(cosine + 1 / (classes - 1)) for cosine in cosines),
        "etf_distance": (gram / gram.norm() - frame / math.sqrt(classes - 1)).norm().item(),
    }
