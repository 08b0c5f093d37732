"""The five scores that a line about one model usually holds."""

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_weight
from trueline.measure._accuracy import accuracy
from trueline.measure._brier import brier
from trueline.measure._calibration_error import calibration_error
from trueline.measure._confidence_gap import confidence_gap
from trueline.measure._log_loss import log_loss


def mean_scores(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
) -> dict[str, float]:
    """Return the usual scores of one set of predictions, as plain numbers.

    Args:
        labels: (N,) class numbers in [0, C).
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.

    Returns:
        Weighted means over the samples of ``accuracy``, ``log_loss`` (nats), ``brier`` ([0, 2]) and ``confidence_gap``
        (confidence minus accuracy), and ``ece``, the calibration error of 15 bins of equal width.

    Raises:
        ValueError: if the predictions, labels or weights are not what they should be.

    Example:
        >>> import torch
        >>> scores = mean_scores(torch.tensor([0, 1]), probs=torch.tensor([[0.75, 0.25], [0.75, 0.25]]))
        >>> scores["accuracy"], scores["confidence_gap"], scores["ece"]
        (0.5, 0.25, 0.25)
    """
    if weight is not None:
        check_weight(weight, len(labels))
    return {
        "accuracy": _mean(accuracy(labels, logits=logits, probs=probs), weight),
        "log_loss": _mean(log_loss(labels, logits=logits, probs=probs), weight),
        "brier": _mean(brier(labels, logits=logits, probs=probs), weight),
        "ece": calibration_error(labels, logits=logits, probs=probs, weight=weight).item(),
        "confidence_gap": _mean(confidence_gap(labels, logits=logits, probs=probs), weight),
    }


def _mean(values: Tensor, weight: Tensor | None) -> float:
    if weight is None:
        return values.mean().item()
    return ((values @ weight.double()) / weight.sum(dtype=values.dtype)).item()
