"""The one place where predictions and labels are read and checked."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

SUM_TOLERANCE = 1e-3  # float16 rows of 1,000 classes miss one by up to about 5e-4
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


def check_predictions(
    *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
) -> Float[Tensor, "N C"]:
    """Return whichever of the two is given as an (N, C) matrix, after checking that it is what its name says.

    Two classes come in three shapes: (N, 2), or as the one number that says it all, (N,) or (N, 1), the
    probability or the log-odds of class 1. The latter become two columns here, ``[1 - p, p]`` or ``[0, z]``.

    Args:
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.

    Returns:
        (N, C) the given values in the given dtype.

    Raises:
        ValueError: as :func:`read_log_probs`.
        TypeError: if the tensor is not floating point.
    """
    if logits is not None and probs is None:
        _check_values(logits, "logits")
        column = _single_column(logits)
        return logits if column is None else torch.stack([torch.zeros_like(column), column], dim=1)
    if probs is not None and logits is None:
        _check_values(probs, "probs")
        _check_unit_range(probs)
        column = _single_column(probs)
        if column is not None:
            one = column.clamp_max(1)
            return torch.stack([1 - one, one], dim=1)
        _check_rows_sum_to_one(probs)
        return probs
    given = "both" if logits is not None else "neither"
    raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")


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


def check_labels(labels: Int64[Tensor, " N"], num_samples: int, num_classes: int) -> None:
    """Refuse labels that do not fit predictions of shape (num_samples, num_classes).

    Args:
        labels: (N,) class numbers, int64, each in [0, num_classes).
        num_samples: the N of the predictions.
        num_classes: the C of the predictions.

    Raises:
        TypeError: if the labels are not int64.
        ValueError: if their shape or range does not fit.
    """
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64 class numbers, got {labels.dtype}; convert with labels.long()")
    if labels.shape != (num_samples,):
        raise ValueError(f"labels must have shape ({num_samples},) to match the predictions, got {tuple(labels.shape)}")
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= num_classes:
        hint = "; labels that start at 1 need labels - 1" if low == 1 and high == num_classes else ""
        raise ValueError(f"labels must lie in [0, {num_classes - 1}], got values from {low} to {high}{hint}")


def check_weight(weight: Float[Tensor, " N"], num_samples: int, *, some_positive: bool = True) -> None:
    """Refuse weights that cannot weigh samples.

    Args:
        weight: (N,) floating-point weights, finite, at least zero and positive somewhere.
        num_samples: the N of the predictions.
        some_positive: False for one block of many, where all may be zero.

    Raises:
        TypeError: if they are not floating point.
        ValueError: if their shape or values do not fit.
    """
    if not weight.is_floating_point():
        raise TypeError(f"weight must be floating point, got {weight.dtype}; convert with weight.float()")
    if weight.shape != (num_samples,):
        raise ValueError(f"weight must have shape ({num_samples},) to match the labels, got {tuple(weight.shape)}")
    if not (weight.isfinite().all() and (weight >= 0).all() and (weight.sum() > 0 or not some_positive)):
        raise ValueError("weight must be finite, at least zero and positive somewhere; drop the samples it is not for")


def _top_label(values: Tensor, *, normalised: bool) -> tuple[Tensor, Tensor]:
    top, prediction = values.max(dim=1)
    if normalised:
        return top, prediction
    parts = [
        (block.double() - highest.double()[:, None]).exp_().sum(dim=1) for block, highest in row_blocks(values, top)
    ]
    return torch.cat(parts).reciprocal(), prediction


def _single_column(values: Tensor) -> Tensor | None:
    """Return the (N,) numbers of a binary problem in its short shapes; None for a matrix of several classes."""
    return values.reshape(-1) if values.ndim == 1 or values.shape[1] == 1 else None


def _check_values(values: Tensor, name: str) -> None:
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.ndim not in (1, 2) or values.numel() == 0:
        raise ValueError(
            f"{name} must have shape (N, C) with N >= 1, or (N,) for two classes, got {tuple(values.shape)}"
        )
    low, high = values.detach().aminmax()  # one pass; NaN wins both
    if not (low.isfinite() and high.isfinite()):
        finite = values.isfinite().reshape(len(values), -1)
        row = int((~finite).any(dim=1).nonzero()[0])
        culprit = values[row].reshape(-1)[~finite[row]][0].item()
        raise ValueError(f"{name} must be finite, but row {row} holds {culprit}")


def _check_unit_range(probs: Tensor) -> None:
    low, high = (v.item() for v in probs.detach().aminmax())
    if low < 0 or high > 1 + SUM_TOLERANCE:
        raise ValueError(
            f"probs must lie in [0, 1], got values from {low:.4g} to {high:.4g}; if these are logits, pass logits="
        )


def _check_rows_sum_to_one(probs: Tensor) -> None:
    total = probs.detach().sum(dim=1, dtype=torch.promote_types(probs.dtype, torch.float32))
    miss = (total - 1).abs()
    if miss.max() > SUM_TOLERANCE:
        row = int(miss.argmax())
        raise ValueError(
            f"each row of probs must sum to 1, but row {row} sums to {total[row]:.6g}; "
            "normalise the rows, or pass logits= if these are unnormalised scores"
        )
