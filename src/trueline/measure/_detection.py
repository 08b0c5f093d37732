"""How well one score tells two sets of samples apart: area under the ROC curve, and false alarms at a recall."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method
from trueline.numerics import Interval, wilson_interval


@method(
    Reference(
        authors="Elizabeth R. DeLong, David M. DeLong, Daniel L. Clarke-Pearson",
        title="Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves: "
        "A Nonparametric Approach",
        venue="Biometrics",
        year=1988,
        doi="10.2307/2531595",
    ),
    Reference(
        authors="Xu Sun, Weichao Xu",
        title="Fast Implementation of DeLong's Algorithm for Comparing the Areas Under Correlated Receiver Operating "
        "Characteristic Curves",
        venue="IEEE Signal Processing Letters",
        year=2014,
        doi="10.1109/LSP.2014.2337313",
    ),
    cost="one sort of each set of scores, and a binary search per score",
)
def auroc(inside: Float[Tensor, " N"], outside: Float[Tensor, " M"]) -> Interval:
    """Return the chance that an inside sample has a higher score than an outside one; ties count half.

    With ``p_i`` the share of outside scores below inside score i and ``q_j`` that of inside scores above outside
    score j, the area is the mean of either, and DeLong's estimate of its variance is ``var(p)/N + var(q)/M``.
    The interval is Wilson's for an observed rate of that size and that variance, so with ``A(1 - A)/variance``
    trials: it agrees with the usual ``A ± 1.96·√variance`` for large samples, but stays in [0, 1]. Where the
    variance is zero, as for sets that do not overlap, the trials are ``min(N, M)``, the fewest that any scores have.

    Args:
        inside: (N,) scores of the samples that should score high; infinite ones are allowed.
        outside: (M,) scores of the others.

    Returns:
        The area in [0, 1], 0.5 for scores that say nothing, and its 95 % interval: [0, 1] for fewer than two
        samples in either set.

    Raises:
        ValueError: if a set is empty, not one-dimensional, or holds NaN.
        TypeError: if scores are not floating point.

    Example:
        >>> found = auroc(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.7, 0.1]))
        >>> round(found.value, 4)
        0.9167
    """
    inside, outside = _read(inside, "inside"), _read(outside, "outside")
    below = _share_below(inside, outside)
    above = 1 - _share_below(outside, inside)
    area = below.mean().clamp(0, 1)
    if min(len(inside), len(outside)) < 2:
        return Interval(area.item(), 0.0, 1.0)
    variance = below.var() / len(inside) + above.var() / len(outside)
    spread = area * (1 - area)
    fewest = min(len(inside), len(outside))
    trials = spread / variance if spread > 0 and variance > 0 else area.new_tensor(fewest)
    low, high = wilson_interval(area, trials)
    return Interval(area.item(), low.item(), high.item())


@method(
    Reference(
        authors="Shiyu Liang, Yixuan Li, R. Srikant",
        title="Enhancing the Reliability of Out-of-Distribution Image Detection in Neural Networks",
        venue="ICLR",
        year=2018,
        arxiv="1706.02690",
    ),
    cost="one sort of the inside scores",
)
def fpr_at_recall(inside: Float[Tensor, " N"], outside: Float[Tensor, " M"], *, recall: float = 0.95) -> Interval:
    """Return the share of outside samples that pass the threshold which a given share of inside samples passes.

    A sample passes with a score at or above the threshold. The threshold is the largest that at least ``recall`` of
    the inside samples pass; where they tie, more may pass.

    Args:
        inside: (N,) scores of the samples that should score high; infinite ones are allowed.
        outside: (M,) scores of the others.
        recall: the share of inside samples that must pass, in (0, 1].

    Returns:
        The share of outside samples that pass and its 95 % Wilson interval, which takes the threshold as given: it
        says how certain the share is for this threshold, not how certain the threshold is.

    Raises:
        ValueError: if a set is empty, not one-dimensional, or holds NaN, or if ``recall`` lies outside (0, 1].
        TypeError: if scores are not floating point.

    Example:
        >>> found = fpr_at_recall(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0.7, 0.1]), recall=0.75)
        >>> found.value
        0.5
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must lie in (0, 1], got {recall}; for 95 % pass 0.95")
    inside, outside = _read(inside, "inside"), _read(outside, "outside")
    passing = math.ceil(recall * len(inside))
    if (passing - 1) / len(inside) >= recall:  # the product was rounded up past a whole number
        passing -= 1
    threshold = inside.sort(descending=True).values[passing - 1]
    share = (outside >= threshold).double().mean()
    low, high = wilson_interval(share, share.new_tensor(len(outside)))
    return Interval(share.item(), low.item(), high.item())


def _share_below(scores: Tensor, others: Tensor) -> Tensor:
    """Return for each score the share of the others that lie below it, ties half."""
    ordered = others.sort().values
    lower, upper = (torch.searchsorted(ordered, scores, right=right) for right in (False, True))
    return (lower + upper).double() / (2 * len(others))


def _read(scores: Tensor, name: str) -> Tensor:
    check_tensors(**{name: scores})
    if not scores.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {scores.dtype}; convert with {name}.float()")
    if scores.ndim != 1 or scores.numel() == 0:
        raise ValueError(f"{name} must have shape (N,) with N >= 1, got {tuple(scores.shape)}")
    if scores.isnan().any():
        raise ValueError(f"{name} holds {int(scores.isnan().sum())} NaN; remove the samples without a score")
    return scores.detach().double().contiguous().cpu()
