"""The signed gap between confidence and correctness."""

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import read_hits


def confidence_gap(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return confidence minus correctness, ``max_k p_k - 1[argmax = y]``; the mean is the over-confidence.

    A mean above zero says the model promises more than it keeps, one below zero the opposite. Its absolute
    value never exceeds the calibration error, for any bins.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) differences of probabilities in [-1, 1], float64.

    Raises:
        ValueError: if the predictions or labels are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> confidence_gap(torch.tensor([0, 0]), probs=torch.tensor([[0.75, 0.25], [0.25, 0.75]])).tolist()
        [-0.25, 0.75]
    """
    confidence, hits = read_hits(labels, logits=logits, probs=probs)
    return confidence.double() - hits.double()
