"""The one place where predictions, labels and weights are checked."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

SUM_TOLERANCE = 1e-3  # float16 rows of 1,000 classes miss one by up to about 5e-4
_BLOCK = 1 << 18  # entries converted to double precision at once: temporaries stay small and in cache
_CHECKED = 1 << 20  # entries checked at once, which takes no temporaries


def check_tensors(**values: object) -> None:
    """Refuse what is no tensor, such as an array of NumPy or a list.

    Args:
        **values: what must be tensors, by the names for the message; None is let pass.

    Raises:
        TypeError: if one is something else.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"{name} must be a torch.Tensor, got {kind}; pass torch.as_tensor({name})")


def check_predictions(
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    at_least: int = 1,
) -> Float[Tensor, "N C"]:
    """Return whichever of the two is given as an (N, C) matrix, after checking that it is what its name says.

    Two classes come in three shapes: (N, 2), or as the one number that says it all, (N,) or (N, 1), the
    probability or the log-odds of class 1. The latter become two columns here, ``[1 - p, p]`` or ``[0, z]``.

    Args:
        logits: (N, C) unnormalised scores, any finite values, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities in [0, 1] whose rows sum to one, or (N,) of class 1 of two; or None.
        at_least: fewest rows, 1, or 0 where nothing is learned or averaged.

    Returns:
        (N, C) the given values in the given dtype.

    Raises:
        ValueError: as :func:`read_log_probs`.
        TypeError: if the tensor is not floating point.
    """
    values = as_matrix(logits=logits, probs=probs, at_least=at_least)
    for _ in checked_rows(values, normalised=probs is not None):
        pass
    return values


def as_matrix(
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    at_least: int = 1,
) -> Float[Tensor, "N C"]:
    """Return whichever of the two is given as an (N, C) matrix whose values are still to be checked.

    Args:
        logits: (N, C), or (N,) or (N, 1) of class 1 of two; or None.
        probs: likewise.
        at_least: fewest rows, 1 or 0.

    Returns:
        (N, C) the values.

    Raises:
        ValueError: if both or neither are given, the shape does not fit, or probabilities of class 1 leave [0, 1].
        TypeError: if the tensor is not floating point.
    """
    if (logits is None) == (probs is None):
        given = "neither" if logits is None else "both"
        raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")
    values, name = (logits, "logits") if logits is not None else (probs, "probs")
    assert values is not None
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.ndim not in (1, 2) or len(values) < at_least or (values.ndim == 2 and values.shape[1] == 0):
        raise ValueError(
            f"{name} must have shape (N, C) with N >= {at_least}, or (N,) for two classes, got {tuple(values.shape)}"
        )
    if values.ndim == 2 and values.shape[1] > 1:
        return values
    column = values.reshape(-1)
    if len(column) == 0:
        return column[:, None].expand(0, 2)
    _check_finite(values, name)
    if probs is None:
        return torch.stack([torch.zeros_like(column), column], dim=1)
    _check_unit_range(values)
    one = column.clamp_max(1)
    return torch.stack([1 - one, one], dim=1)


def checked_rows(values: Float[Tensor, "N C"], *, normalised: bool) -> Iterator[tuple[int, Float[Tensor, "B C"]]]:
    """Check predictions run by run, so that who reads them next finds each run in the cache.

    Args:
        values: (N, C) logits or probabilities.
        normalised: whether they are probabilities.

    Yields:
        The first row of each run, and the run.

    Raises:
        ValueError: if a value is not finite, or probabilities leave [0, 1] or do not sum to one.
    """
    rows = max(1, _CHECKED // values.shape[1])
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        low, high = block.detach().aminmax()  # one pass; NaN wins both
        fine = bool(low.isfinite() & high.isfinite())
        if fine and normalised:
            fine = bool((low >= 0) & (high <= 1 + SUM_TOLERANCE) & (_miss(block).amax() <= SUM_TOLERANCE))
        if not fine:
            _explain(values.detach(), normalised)
        yield start, block


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
    check_tensors(labels=labels)
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
    check_tensors(weight=weight)
    if not weight.is_floating_point():
        raise TypeError(f"weight must be floating point, got {weight.dtype}; convert with weight.float()")
    if weight.shape != (num_samples,):
        raise ValueError(f"weight must have shape ({num_samples},) to match the labels, got {tuple(weight.shape)}")
    if not (weight.isfinite().all() and (weight >= 0).all() and (weight.sum() > 0 or not some_positive)):
        raise ValueError("weight must be finite, at least zero and positive somewhere; drop the samples it is not for")
    if not weight.sum(dtype=torch.float64).isfinite():
        raise ValueError("weight must have a finite sum in double precision; divide the weights by the largest")


def _explain(values: Tensor, normalised: bool) -> None:
    """Raise the error that fits predictions of which some run is not as it should be."""
    _check_finite(values, "probs" if normalised else "logits")
    _check_unit_range(values)
    miss = _miss(values)
    row = int(miss.argmax())
    raise ValueError(
        f"each row of probs must sum to 1, but row {row} sums to {_total(values)[row]:.6g}; "
        "normalise the rows, or pass logits= if these are unnormalised scores"
    )


def _check_finite(values: Tensor, name: str) -> None:
    finite = values.isfinite().reshape(len(values), -1)
    if not finite.all():
        row = int((~finite).any(dim=1).nonzero()[0])
        culprit = values[row].reshape(-1)[~finite[row]][0].item()
        raise ValueError(f"{name} must be finite, but row {row} holds {culprit}")


def _check_unit_range(probs: Tensor) -> None:
    low, high = (value.item() for value in probs.detach().aminmax())
    if low < 0 or high > 1 + SUM_TOLERANCE:
        raise ValueError(
            f"probs must lie in [0, 1], got values from {low:.4g} to {high:.4g}; if these are logits, pass logits="
        )


def _total(probs: Tensor) -> Tensor:
    return probs.detach().sum(dim=1, dtype=torch.promote_types(probs.dtype, torch.float32))


def _miss(probs: Tensor) -> Tensor:
    return (_total(probs) - 1).abs()
