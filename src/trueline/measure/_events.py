"""Which event a probability is about: that the top label is right, that class 1 holds, or every class in turn."""

from typing import Literal

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions, check_tensors, read_hits

Event = Literal["top_label", "positive", "classwise"]


def read_event(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    event: Event,
) -> tuple[Float[Tensor, "N K"], Bool[Tensor, "N K"]]:
    """Return the probability of each event, and whether it came true.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        event: ``"top_label"``: the most probable class is the label, K = 1. ``"positive"``: the label is class 1 of
            two, K = 1. ``"classwise"``: the label is class k, K = C.

    Returns:
        (N, K) probabilities, in the dtype of ``probs`` or float64 for logits, and (N, K) outcomes, on the CPU.

    Raises:
        ValueError: if predictions or labels do not fit, the event is unknown, or ``"positive"`` meets more than two
            classes.
        TypeError: if a dtype is wrong.
    """
    if event == "top_label":
        confidence, hit = read_hits(labels, logits=logits, probs=probs)
        return confidence.detach().cpu()[:, None], hit.cpu()[:, None]
    if event not in ("positive", "classwise"):
        raise ValueError(f"event must be 'top_label', 'positive' or 'classwise', got {event!r}")
    values = check_predictions(logits=logits, probs=probs).detach().cpu()
    check_tensors(labels=labels)
    labels = labels.cpu()
    check_labels(labels, *values.shape)
    scores = values if probs is not None else values.double().softmax(dim=1)
    hits = labels[:, None] == labels.new_tensor(range(values.shape[1]))
    if event == "classwise":
        return scores, hits
    if values.shape[1] != 2:
        raise ValueError(
            f"event='positive' needs two classes, got {values.shape[1]}; pass event='classwise' for each class "
            "against the rest, or 'top_label'"
        )
    return scores[:, 1:], hits[:, 1:]
