"""The calibration error by kernel density estimates (KDE-ECE), by Zhang, Kailkhura and Han (2020)."""

from typing import Literal

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_hits

_CELLS = 1 << 13  # of the grid on [0, 1]
_NARROWEST = 4 / _CELLS  # a kernel narrower than the grid would fall between its points


@method(
    Reference(
        authors="Jize Zhang, Bhavya Kailkhura, T. Yong-Jin Han",
        title="Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning",
        venue="ICML",
        year=2020,
        arxiv="2003.07329",
    ),
    cost="one pass over the predictions and a few Fourier transforms of 16,384 values",
)
def kernel_density_calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    norm: Literal[1, 2] = 1,
) -> Float[Tensor, ""]:
    """Return the distance between confidence and accuracy, both smoothed over the confidence.

    ``(∫_0^1 |x - acc(x)|^r f(x) dx)^(1/r)`` for the density f of the confidences and ``acc(x) = ā·f_hit(x)/f(x)``,
    both by the kernel ``35/32·(1 - u²)³`` of width ``h = std(confidence of hits)·(2N)^(-1/5)``, reflected at 0 and 1.
    The integral is over a grid of 8,192 cells; h is at least four of them, which also covers hits that are all equally
    confident, or none. With weights, N is the effective number ``(Σw)²/Σw²``.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        norm: the exponent r, 1 or 2.

    Returns:
        The error of the top label, a probability, as a float64 scalar without gradient. Smoothing alone makes it
        positive for a calibrated model whose confidences crowd at 1.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = kernel_density_calibration_error(torch.arange(400) % 2, probs=torch.full((400,), 0.8))
        >>> round(found.item(), 3)
        0.3
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    confidence, hits = confidence.detach().double().clamp(0, 1), hit.double()
    w = torch.ones_like(confidence)
    if weight is not None:
        check_weight(weight, len(labels))
        w = weight.detach().double() / weight.max()
    share = w / w.sum()
    width = _spread(confidence, share * hits) * (2 / share.square().sum().item()) ** -0.2
    kernel = _kernel_response(max(width, _NARROWEST), confidence.device)
    density, right = (_smoothed(confidence, values, kernel) for values in (share, share * hits))
    x = torch.arange(_CELLS + 1, dtype=torch.float64, device=density.device) / _CELLS
    seen = density > 1e-12
    gap = torch.where(seen, (x - right / torch.where(seen, density, 1)).abs(), 0)
    return torch.trapezoid(gap.pow(norm) * density, dx=1 / _CELLS).pow(1 / norm)


def _spread(confidence: Tensor, share: Tensor) -> float:
    total = share.sum()
    if not total > 0:
        return 0.0
    mean = confidence @ share / total
    return ((confidence - mean).square() @ share / total).sqrt().item()


def _kernel_response(width: float, device: torch.device) -> Complex[Tensor, " F"]:
    """Return the Fourier coefficients of the kernel on a circle of twice the grid, where reflection is symmetry."""
    at = torch.arange(2 * _CELLS, dtype=torch.float64, device=device)
    u = torch.minimum(at, 2 * _CELLS - at) / (_CELLS * width)
    kernel = (1 - u.square()).clamp_min(0).pow(3)
    response: Tensor = torch.fft.rfft(kernel / kernel.sum())
    return response


def _smoothed(confidence: Tensor, share: Tensor, kernel: Tensor) -> Float[Tensor, " G"]:
    """Return a density on the grid: shares put on the two nearest points, smoothed, and mirrored back into [0, 1]."""
    place = confidence * _CELLS
    low = place.floor().clamp_max(_CELLS - 1).long()
    above = place - low
    nodes = torch.bincount(low, weights=share * (1 - above), minlength=_CELLS + 1)
    nodes = nodes + torch.bincount(low + 1, weights=share * above, minlength=_CELLS + 1)
    # Both halves of the circle hold every inner point once, and the two ends all that lies on them.
    circle = torch.cat([2 * nodes[:1], nodes[1:-1], 2 * nodes[-1:], nodes[1:-1].flip(0)])
    smoothed: Tensor = torch.fft.irfft(torch.fft.rfft(circle) * kernel, n=2 * _CELLS)
    return smoothed[: _CELLS + 1].clamp_min(0) * _CELLS
