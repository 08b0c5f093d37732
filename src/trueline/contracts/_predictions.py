"""Predictions as the probabilities, log-probabilities or top labels that a method asks for."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts._checks import (
    SUM_TOLERANCE,
    as_matrix,
    check_labels,
    check_predictions,
    checked_rows,
    row_blocks,
)


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
    return checked_log_probs(check_predictions(logits=logits, probs=probs), normalised=probs is not None)


def checked_log_probs(values: Float[Tensor, "N C"], *, normalised: bool) -> Float[Tensor, "N C"]:
    """Return natural-log probabilities of predictions that :func:`check_predictions` has let pass.

    Args:
        values: (N, C) logits or probabilities.
        normalised: whether they are probabilities.

    Returns:
        (N, C) log-probabilities in nats, float64.
    """
    if not normalised:
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
    values = check_predictions(logits=logits, probs=probs)
    top, prediction = values.max(dim=1)
    if probs is not None:
        return top, prediction
    return _confidence(values, top), prediction


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
    values, normalised = as_matrix(logits=logits, probs=probs), probs is not None
    check_labels(labels, *values.shape)
    runs = [
        _run_hits(block, labels[start : start + len(block)], normalised)
        for start, block in checked_rows(values, normalised=normalised)
    ]
    confidence, hits = zip(*runs, strict=True)
    return torch.cat(confidence), torch.cat(hits)


def _run_hits(values: Tensor, labels: Tensor, normalised: bool) -> tuple[Tensor, Tensor]:
    top = values.amax(dim=1)
    confidence = top if normalised else _confidence(values, top)
    hits = values.gather(1, labels[:, None]).squeeze(1) == top
    # The label may tie with a lower class, but only at half the probability or less; looking for the place of the
    # largest value is slow, so it is done for these rows alone.
    doubtful = (hits & (confidence <= 0.5 + SUM_TOLERANCE)).nonzero().squeeze(1)
    hits[doubtful] = values[doubtful].argmax(dim=1) == labels[doubtful]
    return confidence, hits


def _confidence(logits: Tensor, top: Tensor) -> Tensor:
    parts = [
        (block.double() - highest.double()[:, None]).exp_().sum(dim=1) for block, highest in row_blocks(logits, top)
    ]
    return torch.cat(parts).reciprocal()
