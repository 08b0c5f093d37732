"""The maximum mean calibration error, by Kumar, Sarawagi and Jain (2018)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_hits

_NARROWEST = 0.005  # exp(1/width) must stay a number


@method(
    Reference(
        authors="Aviral Kumar, Sunita Sarawagi, Ujjwal Jain",
        title="Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings",
        venue="ICML",
        year=2018,
    ),
    cost="one pass over the predictions and one sort; the double sum takes no more",
)
def maximum_mean_calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    width: float = 0.4,
) -> Float[Tensor, ""]:
    """Return the length of the mean gap between confidence and hit in the space of a Laplacian kernel.

    ``sqrt(Σ_ij r_i r_j exp(-|c_i - c_j|/width))`` for ``r_i = w_i (c_i - a_i)/Σw``. In order of the confidence the
    kernel is a product of one factor for each sample, so cumulative sums replace the double sum.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        width: of the kernel, in confidence, at least 0.005; 0.4 as in the authors' code.

    Returns:
        The error, between ``|mean gap|/√(1 + 1/(2·width))`` and the mean of ``|c - a|``, as a float64 scalar without
        gradient. Its scale depends on the width; it is no distance between confidence and accuracy.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = maximum_mean_calibration_error(torch.arange(400) % 2, probs=torch.full((400,), 0.8))
        >>> round(found.item(), 3)
        0.3
    """
    if not _NARROWEST <= width < torch.inf:
        raise ValueError(f"width must be a finite number of at least {_NARROWEST}, got {width}; 0.4 is usual")
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    confidence = confidence.detach().double()
    w = torch.ones_like(confidence)
    if weight is not None:
        check_weight(weight, len(labels))
        w = weight.detach().double() / weight.max()
    gap = w / w.sum() * (confidence - hit.double())
    order = confidence.argsort(stable=True)
    confidence, gap = confidence[order], gap[order]
    growth = (confidence / width).exp()
    before = (gap * growth).cumsum(0) - gap * growth
    return (gap.square().sum() + 2 * (gap / growth * before).sum()).clamp_min(0).sqrt()
