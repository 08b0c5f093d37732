"""Cross-entropy against a distribution, the one path that every soft target takes."""

from jaxtyping import Float
from torch import Tensor


def soft_cross_entropy(logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """Return the cross-entropy of each prediction against its target distribution.

    ``-sum_j targets_j · log_softmax(logits)_j``; its gradient in the logits is ``softmax(logits) - targets``.

    Args:
        logits: (B, C) outputs of the network, any floating-point type.
        targets: (B, C) distributions.

    Returns:
        (B,) losses in nats; computed in float32 even when the logits are half precision.

    Example:
        >>> import torch
        >>> soft_cross_entropy(torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
        tensor([1.3863])
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)
