"""The one place where predictions, labels and weights are checked."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SUM_TOLERANCE = 1e-3  # float16 rows of 1,000 classes miss one by up to about 5e-4


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
