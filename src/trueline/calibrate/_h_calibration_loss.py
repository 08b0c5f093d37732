"""The objective of h-calibration, by Huang et al. (2025)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot, pad

from trueline.calibrate._score_maps import check_count, edges_at, equal_mass_ranks
from trueline.contracts import Reference, check_labels, check_weight, method, read_log_probs
from trueline.numerics import equal_width_edges

H_CALIBRATION = Reference(
    authors="Wenjian Huang, Guiping Cao, Jiahao Xia, Jingkun Chen, Hao Wang, Jianguo Zhang",
    title="h-calibration: Rethinking Classifier Recalibration with Probabilistic Error-Bounded Objective",
    venue="IEEE Transactions on Pattern Analysis and Machine Intelligence",
    year=2025,
    arxiv="2506.17968",
    doi="10.1109/TPAMI.2025.3582796",
)


@method(H_CALIBRATION, cost="one sort of the N·C predictions; with leave_one_class_out, C of them")
def h_calibration_loss(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    window: int = 201,
    tolerance: float = 1e-20,
    bins: int = 15,
    leave_one_class_out: bool = False,
) -> Float[Tensor, ""]:
    """Return how far probabilities are from frequencies among their neighbours of all samples and classes.

    The N·C probabilities are sorted; each has the residual ``r = p - 1[label]``. A window of W of them slides along,
    ``h_j = max(|Σ_{|i-j| ≤ W/2} r_i|/W - tolerance, 0)``, with nothing beyond the two ends. The loss is the mean over
    bins of the mean of h in each bin. A window over everything says nothing: all residuals sum to zero.

    The authors cluster the probabilities by k-means; the bins of equal mass are ours. So is the treatment of ties:
    probabilities that agree in single precision share their mean residual and the middle of their places, so the order
    of the samples does not matter, and an integer weight equals repetitions.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones.
        window: W, in samples times classes, at least one; the authors take 201.
        tolerance: what a window may miss for nothing, at least zero.
        bins: number of bins that count alike, at least one.
        leave_one_class_out: average the loss over the sets of samples that lack one label each. A set without samples
            is left out. The authors do so when the classes are few.

    Returns:
        The loss in [0, 1], float64, differentiable in the predictions.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> probs = torch.tensor([[0.75, 0.25]]).expand(4, 2)
        >>> h_calibration_loss(torch.tensor([0, 0, 0, 1]), probs=probs, window=4).item()
        0.0
        >>> h_calibration_loss(torch.tensor([0, 0, 1, 1]), probs=probs, window=4).item()
        0.25
    """
    check_count("window", window, 1)
    check_count("bins", bins, 1)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    log_probs = read_log_probs(logits=logits, probs=probs)
    check_labels(labels, *log_probs.shape)
    if weight is None:
        mass = torch.ones_like(log_probs[:, 0])
    else:
        check_weight(weight, len(labels))
        mass = weight.detach().double()
    return h_loss(log_probs, labels, mass, window, tolerance, bins, leave_one_class_out)


def h_loss(
    log_probs: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    mass: Float[Tensor, " N"],
    window: int,
    tolerance: float,
    bins: int,
    leave_one_class_out: bool,
) -> Float[Tensor, ""]:
    """Return :func:`h_calibration_loss` of what is checked already.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        mass: (N,) weights.
        window: as there.
        tolerance: as there.
        bins: as there.
        leave_one_class_out: as there.

    Returns:
        The loss.
    """
    classes = range(log_probs.shape[1]) if leave_one_class_out else [-1]
    losses = []
    for missing in classes:
        held = (labels != missing) & (mass > 0)
        if held.any():
            losses.append(_one_loss(log_probs[held], labels[held], mass[held], window, tolerance, bins))
    return torch.stack(losses).mean()


def _one_loss(log_probs: Tensor, labels: Tensor, mass: Tensor, window: int, tolerance: float, bins: int) -> Tensor:
    residual = log_probs.exp() - one_hot(labels, log_probs.shape[1])
    ordered, order = log_probs.detach().float().flatten().sort()
    mass = mass.repeat_interleave(log_probs.shape[1])[order]
    error = residual.flatten()[order] * mass
    group = pad(ordered[1:] != ordered[:-1], (1, 0)).cumsum(0)
    ends = [pad(_sums(values, group).cumsum(0), (1, 0)) for values in (mass, error)]
    place, total = ends
    middle = (place[1:] + place[:-1]) / 2
    missed = (_along(place, total, middle + window / 2) - _along(place, total, middle - window / 2)).abs() / window
    hinge = (missed - tolerance).clamp_min(0)
    cuts = equal_width_edges(bins, device=ordered.device)[1:-1]
    edges = edges_at(ordered[None], equal_mass_ranks(ordered[None], mass[None], cuts))[0]
    share = place.diff()
    distinct = ordered[pad(ordered[1:] != ordered[:-1], (1, 0), value=True)]
    index = torch.bucketize(distinct.double(), edges)
    count = share.new_zeros(bins).index_add_(0, index, share)
    summed = share.new_zeros(bins).index_add(0, index, share * hinge)
    held = count > 0
    return (summed[held] / count[held]).mean()


def _sums(values: Tensor, group: Tensor) -> Tensor:
    return values.new_zeros(int(group[-1]) + 1).index_add(0, group, values)


def _along(place: Tensor, total: Tensor, where: Tensor) -> Tensor:
    """Return the running total at places between those where it is known."""
    high = torch.bucketize(where, place).clamp(1, len(place) - 1)
    left, right = place[high - 1], place[high]
    return torch.lerp(total[high - 1], total[high], ((where - left) / (right - left)).clamp(0, 1))
