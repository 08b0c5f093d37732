"""Predictions as the probabilities, log-probabilities or top labels that a method asks for."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from trueline.contracts._checks import check_labels, check_predictions

_BLOCK = 1 << 18  # entries converted to double precision at once: temporaries stay small and in cache


def read_log_probs(
    *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
) -> Float[Tensor, "N C"]:
    """Return natural-log probabilities in double precision from logits or probabilities.

    ``log_probs = log_softmax(logits)`` or ``log(probs)``. A probability of exactly zero is read as the
    smallest positive normal number of its own dtype, so that a score stays finite.

    Args:
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.

    Returns:
        (N, C) log-probabilities in nats, float64, on the input's device.

    Raises:
        ValueError: if both or neither are given, N is 0, C < 2, a value is not finite, or ``probs`` are not
            probabilities.
        TypeError: if the tensor is not floating point.
    """
    values = check_predictions(logits=logits, probs=probs)
    if probs is None:
        return values.double().log_softmax(dim=1)
    return values.clamp_min(torch.finfo(values.dtype).tiny).double().log()


def read_probs(
    *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
) -> Float[Tensor, "N C"]:
    """Return probabilities in double precision: ``softmax(logits)``, or ``probs`` with their exact values.

    Args:
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.

    Returns:
        (N, C) probabilities, float64, on the input's device.

    Raises:
        ValueError: as :func:`read_log_probs`.
        TypeError: if the tensor is not floating point.
    """
    values = check_predictions(logits=logits, probs=probs)
    return values.double().softmax(dim=1) if probs is None else values.double()


def read_top_label(
    *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
) -> tuple[Float[Tensor, " N"], Int64[Tensor, " N"]]:
    """Return the largest probability of each row and its class, without an (N, C) temporary.

    Args:
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.

    Returns:
        Confidences (N,), and predicted classes (N,) int64, the lowest of those that tie. Confidences are
        float64 for logits. For ``probs`` they are the given values in the given dtype: a saturated 1.0 stays 1.0.

    Raises:
        ValueError: as :func:`read_log_probs`.
        TypeError: if the tensor is not floating point.
    """
    return _top_label(check_predictions(logits=logits, probs=probs), normalised=probs is not None)


def read_hits(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """Return the largest probability of each row, and whether its class is the label.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.

    Returns:
        Confidences (N,) as :func:`read_top_label` returns them, and hits (N,).

    Raises:
        ValueError: as :func:`read_log_probs` and :func:`check_labels`.
        TypeError: if a dtype is wrong.
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    confidence, prediction = _top_label(values, normalised=probs is not None)
    return confidence, prediction == labels


def row_blocks(values: Float[Tensor, "N C"], *others: Shaped[Tensor, "N ..."]) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of N rows into the same runs of rows, short enough for double-precision temporaries.

    Args:
        values: (N, C) predictions; C decides how many rows a run has.
        *others: further tensors with N rows.

    Yields:
        Tuples of views, one view per tensor.
    """
    rows = max(1, _BLOCK // values.shape[1])
    for start in range(0, len(values), rows):
        yield tuple(tensor[start : start + rows] for tensor in (values, *others))


def _top_label(values: Tensor, *, normalised: bool) -> tuple[Tensor, Tensor]:
    top, prediction = values.max(dim=1)
    if normalised:
        return top, prediction
    parts = [
        (block.double() - highest.double()[:, None]).exp_().sum(dim=1) for block, highest in row_blocks(values, top)
    ]
    return torch.cat(parts).reciprocal(), prediction
