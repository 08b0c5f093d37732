"""Log loss, also called negative log-likelihood or cross-entropy, by Good (1952)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, check_predictions, method, row_blocks


@method(
    Reference(
        authors="Irving J. Good",
        title="Rational Decisions",
        venue="Journal of the Royal Statistical Society B",
        year=1952,
        doi="10.1111/j.2517-6161.1952.tb00104.x",
    ),
    cost="one log-softmax per sample; one logarithm for probabilities",
)
def log_loss(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return minus the log-probability of each label, ``-ln p_y``.

    A probability of exactly zero is read as the smallest positive normal number of its dtype (1.2e-38 for
    float32, so at most 87.3 nats). Logits have no such floor: prefer them where a model saturates.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) losses in nats, float64, at least zero.

    Raises:
        ValueError: if the predictions or labels are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> log_loss(torch.tensor([0]), probs=torch.tensor([[0.25, 0.75]])).item()
        1.38629...
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    if probs is None:
        parts = [
            block.double().log_softmax(dim=1).gather(1, label[:, None]) for block, label in row_blocks(values, labels)
        ]
        return torch.cat(parts).squeeze(1).neg()
    of_label = values.gather(1, labels[:, None]).squeeze(1)
    return -of_label.clamp(torch.finfo(values.dtype).tiny, 1).double().log()
