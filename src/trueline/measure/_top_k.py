"""Top-k accuracy, the share of samples whose label is among the k largest probabilities."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions, row_blocks


def top_k_accuracy(
    labels: Int64[Tensor, " N"],
    *,
    k: int = 5,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return whether the label is among the k most probable classes: 1 or 0, so the mean is the top-k accuracy.

    The label's rank is the number of classes with a larger value, plus that of classes with the same value and a
    lower number; it is right if the rank is below k. For k = 1 this is :func:`accuracy`.

    Args:
        labels: (N,) class numbers, int64.
        k: number of guesses, in [1, C].
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) ones and zeros, float64.

    Raises:
        ValueError: if the predictions, labels or k are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
        >>> top_k_accuracy(torch.tensor([1, 2]), k=2, probs=probs).tolist()
        [1.0, 0.0]
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    classes = values.shape[1]
    if not 1 <= k <= classes:
        raise ValueError(f"k must lie in [1, {classes}] for {classes} classes, got {k}; of all classes one is right")
    number = torch.arange(classes, device=values.device)
    parts = []
    for block, label in row_blocks(values, labels[:, None]):
        of_label = block.gather(1, label)
        before = (block > of_label) | ((block == of_label) & (number < label))
        parts.append(before.sum(dim=1) < k)
    return torch.cat(parts).double()
