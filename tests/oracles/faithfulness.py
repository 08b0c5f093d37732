"""Faithfulness measures in plain loops: one sample, one step, one entry at a time."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def score(model: nn.Module, x: Tensor, c: int, of: str) -> float:
    """Return a score of one sample's class from its logits (C,)."""
    with torch.no_grad():
        z = [float(value) for value in model(x[None])[0]]
    top = max(z)
    total = sum(math.exp(value - top) for value in z)
    others = [value for k, value in enumerate(z) if k != c]
    most = max(others)
    rest = most + math.log(sum(math.exp(value - most) for value in others))
    return {
        "probability": math.exp(z[c] - top) / total,
        "log_odds": z[c] - rest,
        "logit": z[c],
        "margin": z[c] - most,
    }[of]


def decreasing(values: Sequence[float], ties: Sequence[int]) -> list[int]:
    """Return the places of values from the largest on; equal ones in the order of ``ties``."""
    return sorted(ties, key=lambda j: -values[j])


def removal_curve(
    model: nn.Module, x: Tensor, c: int, order: Sequence[int], counts: Sequence[int], replacement: Tensor, of: str
) -> list[float]:
    """Return the score after the first entries of an order are replaced; pixels (C, H, W) with all channels."""
    curve = []
    for count in counts:
        changed = x.clone()
        for place in order[:count]:
            if x.ndim == 3:
                row, column = divmod(place, x.shape[2])
                changed[:, row, column] = replacement[:, row, column]
            else:
                changed.view(-1)[place] = replacement.reshape(-1)[place]
        curve.append(score(model, changed, c, of))
    return curve


def trapezoid(curve: Sequence[float]) -> float:
    """Return ``(Σ s_t - s_0/2 - s_T/2) / T``."""
    return (sum(curve) - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1)


def impute(image: Tensor, removed: Tensor) -> Tensor:
    """Return an image (H, W) whose removed pixels solve the neighbours' equations, by a dense solve."""
    height, width = image.shape
    places = [(i, j) for i in range(height) for j in range(width) if removed[i, j]]
    number = {place: k for k, place in enumerate(places)}
    matrix = torch.zeros(len(places), len(places), dtype=torch.float64)
    right = torch.zeros(len(places), dtype=torch.float64)
    for k, (i, j) in enumerate(places):
        for down in (-1, 0, 1):
            for along in (-1, 0, 1):
                beside = (i + down, j + along)
                if (down, along) == (0, 0) or not (0 <= beside[0] < height and 0 <= beside[1] < width):
                    continue
                weight = 1 / 12 if down and along else 1 / 6
                matrix[k, k] += weight
                if beside in number:
                    matrix[k, number[beside]] -= weight
                else:
                    right[k] += weight * float(image[beside])
    filled = image.double().clone()
    if places:
        for place, value in zip(places, torch.linalg.solve(matrix, right).tolist(), strict=True):
            filled[place] = value
    return filled


def infidelity(
    drop: Callable[[Tensor], float], attribution: Tensor, perturbations: Sequence[Tensor]
) -> tuple[float, float, float]:
    """Return the infidelity of one map, its best scale, and the infidelity with that scale."""
    pairs = []
    for noise in perturbations:
        said = sum(float(a) * float(b) for a, b in zip(noise.flatten(), attribution.flatten(), strict=True))
        pairs.append((said, drop(noise)))
    plain = sum((said - fell) ** 2 for said, fell in pairs) / len(pairs)
    scale = sum(said * fell for said, fell in pairs) / sum(said**2 for said, _ in pairs)
    return plain, scale, sum((scale * said - fell) ** 2 for said, fell in pairs) / len(pairs)


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's correlation."""
    one, other = (sum(values) / len(values) for values in (first, second))
    both = sum((a - one) * (b - other) for a, b in zip(first, second, strict=True))
    return both / math.sqrt(sum((a - one) ** 2 for a in first) * sum((b - other) ** 2 for b in second))
