"""Expected and maximum calibration error, by Naeini et al. (2015), debiased by Kumar et al. (2019)."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, check_predictions, check_weight, method, read_hits
from trueline.numerics import BinSums, BinTable, equal_mass_edges, equal_width_edges


@method(
    Reference(
        authors="Mahdi Pakdaman Naeini, Gregory F. Cooper, Milos Hauskrecht",
        title="Obtaining Well Calibrated Probabilities Using Bayesian Binning",
        venue="AAAI",
        year=2015,
    ),
    Reference(
        authors="Ananya Kumar, Percy Liang, Tengyu Ma",
        title="Verified Uncertainty Calibration",
        venue="NeurIPS",
        year=2019,
        arxiv="1909.10155",
    ),
    Reference(
        authors="Jeremy Nixon, Michael W. Dusenberry, Linchuan Zhang, Ghassen Jerfel, Dustin Tran",
        title="Measuring Calibration in Deep Learning",
        venue="CVPR Workshops",
        year=2019,
        arxiv="1904.01685",
    ),
    cost="one pass over the predictions; equal-mass bins add one sort per column",
)
def calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    norm: float = 1,
    debias: bool = False,
    classwise: bool = False,
) -> Float[Tensor, ""]:
    """Return the binned distance between confidence and accuracy.

    ``(Σ_b n_b/n·|conf_b - acc_b|^r)^(1/r)`` over bins of the confidence ``max_k p_k``; the largest gap of a
    non-empty bin for r = ∞. A calibrated model has a positive value on finite data; ``debias`` subtracts that:
    for r = 2 the variance ``acc_b(1 - acc_b)/(n_b - 1)`` of each bin, for r = 1 the excess of the mean of
    ``|N(conf_b - acc_b, acc_b(1 - acc_b)/n_b)|`` over the plug-in value, which is √2 - 1 of it for a calibrated
    model. A negative result is reported as zero.

    With weights, n_b is the weight of the samples in bin b, means are weighted, and the variances above use the
    effective number of samples, ``(Σw)²/Σw²``. An integer weight equals as many repetitions of its sample for bins
    of equal width (without ``debias``); bins of equal mass may be cut one sample away.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` for bins (m/M, (m+1)/M], the first closed at 0; ``"mass"`` for bins of nearly
            equal counts, cut only between distinct values, so that ties may leave fewer.
        norm: the exponent r: 1 (the usual ECE), 2, or ``math.inf`` (MCE).
        debias: subtract the expected error of a calibrated model; for r = 1 and 2.
        classwise: mean over classes k of the error of ``p_k`` as a prediction of ``y = k``, instead of the
            error of the top label.

    Returns:
        The error, a probability in [0, 1], as a float64 scalar without gradient.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.95, 0.05], [1.0, 0.0]])
        >>> round(calibration_error(torch.tensor([0, 1]), probs=probs, bins=10).item(), 6)
        0.475
    """
    _check_options(binning, norm, debias)
    if weight is not None:
        check_weight(weight, len(labels))
        weight = weight.detach()
    if not classwise:
        confidence, hit = read_hits(labels, logits=logits, probs=probs)
        return from_top_label(confidence, hit, weight=weight, bins=bins, binning=binning, norm=norm, debias=debias)
    values = check_predictions(logits=logits, probs=probs).detach()
    check_labels(labels, *values.shape)
    scores = values if probs is not None else values.double().softmax(dim=1)
    sums = BinSums(_edges(scores, bins, binning, weight), columns=scores.shape[1])
    return _error(sums.add_classes(scores, labels, weight=weight).table(), norm, debias).mean()


def from_top_label(
    confidence: Float[Tensor, " N"],
    hit: Bool[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    norm: float = 1,
    debias: bool = False,
) -> Float[Tensor, ""]:
    """Return :func:`calibration_error` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        hit: (N,) whether each prediction is right.
        weight: (N,) weights without gradient; None for ones.
        bins: as there.
        binning: as there.
        norm: as there.
        debias: as there.

    Returns:
        The error of the top label.
    """
    sums = BinSums(_edges(confidence, bins, binning, weight)).add(confidence, hit, weight=weight)
    return _error(sums.table(), norm, debias)


def _edges(scores: Tensor, bins: int, binning: str, weight: Tensor | None) -> Tensor:
    if binning == "width":
        return equal_width_edges(bins, device=scores.device)
    return equal_mass_edges(scores, bins, weight=weight)


def _error(table: BinTable, norm: float, debias: bool) -> Tensor:
    """Return the error of each column from its bins."""
    share = table.weight / table.weight.sum(dim=-1, keepdim=True)
    gap = table.gap.abs()
    if norm == math.inf:
        return gap.amax(dim=-1)
    if norm == 1:
        terms = 2 * gap - _folded_normal_mean(table) if debias else gap
        return (share * terms).sum(dim=-1).clamp_min(0)
    if debias:
        several = table.effective > 1
        variance = _bernoulli_variance(table) / torch.where(several, table.effective - 1, 1)
        return (share * torch.where(several, gap.square() - variance, 0)).sum(dim=-1).clamp_min(0).sqrt()
    return (share * gap.square()).sum(dim=-1).sqrt()


def _bernoulli_variance(table: BinTable) -> Tensor:
    return (table.outcome * (1 - table.outcome)).nan_to_num(0.0)  # an empty bin weighs nothing


def _folded_normal_mean(table: BinTable) -> Tensor:
    """Return the mean of ``|N(gap, s²)|`` with s the standard error of each bin's accuracy."""
    gap = table.gap.abs()
    s = (_bernoulli_variance(table) / table.effective.clamp_min(1)).sqrt()
    ratio = torch.where(s > 0, gap / s, torch.inf)
    mean = s * math.sqrt(2 / math.pi) * (-ratio.square() / 2).exp() + gap * torch.erf(ratio / math.sqrt(2))
    return torch.where(s > 0, mean, gap)


def _check_options(binning: str, norm: float, debias: bool) -> None:
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    if norm not in (1, 2, math.inf):
        raise ValueError(f"norm must be 1, 2 or math.inf, got {norm!r}")
    if debias and norm == math.inf:
        raise ValueError("debias is defined for norm=1 and norm=2, not for the maximum; pass debias=False")
