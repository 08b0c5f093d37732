"""The Brier score of several classes, by Brier (1950)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, check_predictions, method, row_blocks


@method(
    Reference(
        authors="Glenn W. Brier",
        title="Verification of Forecasts Expressed in Terms of Probability",
        venue="Monthly Weather Review",
        year=1950,
        doi="10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
    ),
    cost="one softmax per sample; none for probabilities",
)
def brier(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return the squared distance of each prediction from its label, ``Σ_k (p_k - 1[k = y])²``.

    This is Brier's own form. For two classes it is twice the ``(p - y)²`` that some packages report.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) scores in [0, 2], float64.

    Raises:
        ValueError: if the predictions or labels are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> brier(torch.tensor([0]), probs=torch.tensor([[0.75, 0.25]])).item()
        0.125
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    parts = []
    for block, label in row_blocks(values, labels):
        p = block.double() if probs is not None else block.double().softmax(dim=1)
        miss = p.scatter_add(1, label[:, None], p.new_full((len(p), 1), -1.0))
        parts.append(miss.square().sum(dim=1))
    return torch.cat(parts)
