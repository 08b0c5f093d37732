"""Accuracy, the share of samples whose largest probability is the label's."""

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions


def accuracy(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return whether each prediction is right: 1 or 0, so the mean is the accuracy.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) ones and zeros, float64. Of classes that tie for the largest value the lowest counts as predicted.

    Raises:
        ValueError: if the predictions or labels are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([0, 0]), probs=torch.tensor([[0.9, 0.1], [0.2, 0.8]])).tolist()
        [1.0, 0.0]
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    return (values.argmax(dim=1) == labels).double()
