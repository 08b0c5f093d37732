"""The smooth calibration error, with a kernel in place of bins, by Błasiok and Nakkiran (2024)."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_hits

_CELLS = 4000  # of the grid on [0, 1], at least
_CELLS_PER_WIDTH = 40
_SMALLEST_WIDTH = 1e-5  # four million cells
_BLOCK = 1 << 21  # grid values held at once


@method(
    Reference(
        authors="Jarosław Błasiok, Preetum Nakkiran",
        title="Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing",
        venue="ICLR",
        year=2024,
        arxiv="2309.12236",
    ),
    cost="one pass over the predictions, then ten Fourier transforms of at most 41,000 values",
)
def smooth_calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    width: float | None = None,
) -> Float[Tensor, ""]:
    """Return the area of the smoothed gap between confidence and accuracy.

    ``∫_0^1 |Σ_i w_i (c_i - a_i) K_σ(t, c_i)| dt / Σ_i w_i`` for confidences ``c = max_k p_k``, hits a, and a Gaussian
    kernel of width σ that is reflected at 0 and at 1, so that no mass is lost at either end. It falls as σ grows.
    Unless a width is given, σ is the smallest multiple of 1/1024, from 2/1024, that the area at σ does not exceed;
    the two are then nearly equal, and the error has no parameter left.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        width: the kernel's standard deviation σ, in units of confidence, in [1e-5, 1]; None for the width that
            equals the error.

    Returns:
        The error, a probability in [0, 1], as a float64 scalar without gradient.

    Raises:
        ValueError: if the predictions, labels, weights or the width are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> error = smooth_calibration_error(torch.tensor([0, 1]), probs=torch.tensor([[0.75, 0.25], [0.75, 0.25]]))
        >>> round(error.item(), 6)
        0.25
    """
    if width is not None and not _SMALLEST_WIDTH <= width <= 1:
        raise ValueError(f"width must lie in [{_SMALLEST_WIDTH:g}, 1], got {width}; pass None for the fixed point")
    if weight is not None:
        check_weight(weight, len(labels))
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    return from_top_label(confidence, hit, weight=weight, width=width)


def from_top_label(
    confidence: Float[Tensor, " N"],
    hit: Bool[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    width: float | None = None,
) -> Float[Tensor, ""]:
    """Return :func:`smooth_calibration_error` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        hit: (N,) whether each prediction is right.
        weight: (N,) weights; None for ones.
        width: as there.

    Returns:
        The error of the top label.
    """
    confidence = confidence.detach().double()
    residual = (confidence - hit.double()) / len(hit)
    if weight is not None:
        share = weight.detach().double()
        residual = (confidence - hit.double()) * (share / share.sum())
    return smoothed_area(confidence, residual, fixed_width(confidence, residual) if width is None else width)


def fixed_width(confidence: Float[Tensor, " N"], residual: Float[Tensor, " N"]) -> float:
    """Return the smallest width, to a 1024th, that the smoothed area at this width does not exceed.

    Args:
        confidence: (N,) places in [0, 1].
        residual: (N,) signed masses, ``w_i (c_i - a_i) / Σw``.

    Returns:
        The upper end after ten halvings of [0, 1]; at least 2/1024, since widths below 0.001 are not tried.
    """
    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        if middle < 0.001 or middle < smoothed_area(confidence, residual, middle).item():
            low = middle
        else:
            high = middle
    return high


def smoothed_area(
    confidence: Float[Tensor, " N"], residual: Float[Tensor, "*R N"], width: float, *, coarsest: int = _CELLS
) -> Float[Tensor, "*R"]:
    """Return the integral over [0, 1] of the absolute value of smoothed signed masses.

    The masses are laid on a fine grid, each shared by the two nodes beside it. A Gaussian reflected at both ends
    multiplies the m-th coefficient of their cosine series by ``exp(-(π m σ)²/2)``.

    Args:
        confidence: (N,) places in [0, 1].
        residual: (..., N) signed masses at these places; leading axes hold further sets of masses.
        width: standard deviation σ of the Gaussian, positive.
        coarsest: number of cells of the grid, at least; more where the Gaussian is narrow.

    Returns:
        (...) areas, float64.

    Cost:
        One addition per mass and two Fourier transforms of twice ``max(coarsest, 40/σ)`` values.
    """
    cells = max(coarsest, math.ceil(_CELLS_PER_WIDTH / width))
    place = confidence.double().clamp(0, 1) * cells
    left = place.floor().clamp_max(cells - 1).long()
    right_part = place - left
    rate = torch.arange(cells + 1, dtype=torch.float64, device=confidence.device) * (math.pi * width)
    damping = (-rate.square() / 2).exp() * (2 * cells)
    sets = residual.double().reshape(-1, len(confidence))
    rows = max(1, _BLOCK // (2 * cells))
    areas = []
    for start in range(0, len(sets), rows):
        masses = sets[start : start + rows]
        nodes = masses.new_zeros(len(masses), cells + 1)
        nodes.index_add_(1, left, masses * (1 - right_part)).index_add_(1, left + 1, masses * right_part)
        # An even sequence of period 2·cells whose Fourier coefficients are the cosine sums over the nodes.
        inner = nodes[:, 1:-1] / 2
        even = torch.cat([nodes[:, :1], inner, nodes[:, -1:], inner.flip(1)], dim=1)
        smooth = torch.fft.irfft(torch.fft.rfft(even) * damping, n=2 * cells)[:, : cells + 1].abs()
        areas.append((smooth.sum(dim=1) - (smooth[:, 0] + smooth[:, -1]) / 2) / cells)
    return torch.cat(areas).reshape(residual.shape[:-1])
