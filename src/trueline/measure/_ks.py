"""The Kolmogorov-Smirnov calibration error, without bins, by Gupta et al. (2021)."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_hits


@method(
    Reference(
        authors="Kartik Gupta, Amir Rahimi, Thalaiyasingam Ajanthan, Thomas Mensink, Cristian Sminchisescu, "
        "Richard Hartley",
        title="Calibration of Neural Networks using Splines",
        venue="ICLR",
        year=2021,
        arxiv="2006.12800",
    ),
    cost="one pass over the predictions and one sort of the confidences",
)
def ks_calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Return the largest accumulated gap between confidence and accuracy.

    ``max_t |Σ_{c_i <= t} w_i (c_i - a_i)| / Σ_i w_i`` over thresholds t, for confidences ``c = max_k p_k`` and hits
    a. Samples of equal confidence are accumulated together, so their order does not matter. It is never below the
    absolute difference of mean confidence and accuracy, and equals it if all bins, however fine, err to one side.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.

    Returns:
        The error, a probability in [0, 1], as a float64 scalar without gradient.

    Raises:
        ValueError: if the predictions, labels or weights are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
        >>> ks_calibration_error(torch.tensor([1, 0, 0, 0]), probs=probs).item()
        0.125
    """
    if weight is not None:
        check_weight(weight, len(labels))
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    return from_top_label(confidence, hit, weight=weight)


def from_top_label(
    confidence: Float[Tensor, " N"], hit: Bool[Tensor, " N"], *, weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    """Return :func:`ks_calibration_error` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        hit: (N,) whether each prediction is right.
        weight: (N,) weights; None for ones.

    Returns:
        The error of the top label.
    """
    ordered, order = confidence.detach().sort()
    gap = ordered.double() - hit[order].double()
    total = torch.tensor(float(len(hit)), dtype=torch.float64, device=gap.device)
    if weight is not None:
        gap, total = gap * weight.detach()[order], weight.detach().sum(dtype=torch.float64)
    ends = torch.ones_like(hit)
    ends[:-1] = ordered[1:] > ordered[:-1]
    return gap.cumsum(dim=0)[ends].abs().amax() / total
