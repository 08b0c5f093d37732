"""Conformal p-values, by Vovk, Gammerman and Shafer (2005)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._conformal_quantile import check_scores
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Vladimir Vovk, Alexander Gammerman, Glenn Shafer",
        title="Algorithmic Learning in a Random World",
        venue="Springer",
        year=2005,
        doi="10.1007/b106715",
    ),
    cost="one sort of the n calibration scores and one binary search per test score: O((n + m) log n)",
)
def conformal_p_values(
    calibration: Float[Tensor, " N"],
    scores: Float[Tensor, "*M"],
    *,
    draws: Float[Tensor, "*M"] | None = None,
) -> Float[Tensor, "*M"]:
    """Return how extreme each score is among the calibration scores, as a p-value.

    ``p(s) = (1 + #{i: s_i >= s})/(n + 1)``. If s is exchangeable with the calibration scores, then ``P(p <= a) <= a``
    for every a. The smoothed ``p(s) = (#{i: s_i > s} + U·(1 + #{i: s_i = s}))/(n + 1)`` with U uniform is exactly
    uniform.

    Args:
        calibration: (N,) calibration scores, larger is worse; may be infinite.
        scores: (*M,) scores to be judged.
        draws: (*M,) the U of each score, in (0, 1]; None for p-values without smoothing.

    Returns:
        (*M,) p-values in (0, 1], float64. They are about one score each, and no probabilities of classes.

    Raises:
        ValueError: if a score is NaN, or a draw lies outside [0, 1].
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> conformal_p_values(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0, 4.0]))
        tensor([1.0000, 0.7500, 0.2500], dtype=torch.float64)
    """
    check_scores(calibration)
    check_scores(scores)
    if draws is not None and not ((draws >= 0) & (draws <= 1)).all():
        raise ValueError("draws must be uniform numbers in [0, 1]; pass torch.rand(...)")
    ordered = calibration.detach().double().sort().values
    return shares_above(*counts_below(ordered, scores.detach().double(), ties=draws is not None), len(ordered), draws)


def counts_below(
    ordered: Float[Tensor, " N"], scores: Float[Tensor, "*M"], *, ties: bool
) -> tuple[Tensor, Tensor | None]:
    """Return how many calibration scores are below each score, and how many are at most as large.

    Args:
        ordered: (N,) calibration scores in ascending order.
        scores: (*M,) scores of the same dtype.
        ties: whether the second count is wanted.

    Returns:
        Two (*M,) int64 counts; None for the second if it is not wanted.
    """
    below = torch.searchsorted(ordered, scores.contiguous())
    return below, torch.searchsorted(ordered, scores.contiguous(), right=True) if ties else None


def shares_above(below: Tensor, up_to: Tensor | None, count: int | Tensor, draws: Tensor | None) -> Tensor:
    """Return p-values from counts.

    Args:
        below: (*M,) how many calibration scores are smaller.
        up_to: (*M,) how many are smaller or equal; only read if there are draws.
        count: how many there are, one number or one for each score.
        draws: (*M,) the U of each score for smoothing, or None.

    Returns:
        (*M,) p-values, float64.
    """
    if draws is None or up_to is None:
        return (count + 1 - below).double() / (count + 1)
    return (count - up_to + draws.double() * (1 + up_to - below)) / (count + 1)
