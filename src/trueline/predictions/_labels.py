"""Class numbers from whatever users call labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor


def read_labels(
    values: NDArray[Any], num_classes: int, class_names: Sequence[str] | None
) -> tuple[Int64[Tensor, " N"], tuple[str, ...]]:
    """Convert labels to class numbers.

    Args:
        values: (N,) or (N, 1) whole numbers of any type, booleans for two classes, or names of classes.
        num_classes: the number C of classes.
        class_names: C names, or None; text can only be matched with names.

    Returns:
        (N,) class numbers, not yet checked to be of a class; and notes on what was converted.

    Raises:
        ValueError: if the labels are one-hot, missing, not whole, or names of no class.
        TypeError: if they are neither numbers nor text.
    """
    notes = []
    if values.ndim == 2 and values.shape[1] == 1:
        notes.append(f"Labels of shape {values.shape} were read as {values.shape[:1]}.")
        values = values[:, 0]
    if values.ndim == 2 and values.shape[1] == num_classes:
        raise ValueError(
            f"labels must be class numbers of shape (N,), got shape {values.shape}; "
            "take labels.argmax(1) of one-hot rows"
        )
    if values.ndim != 1:
        raise ValueError(f"labels must have shape (N,), one class number per sample, got shape {values.shape}")
    kind = values.dtype.kind
    if kind == "b":
        if num_classes != 2:
            raise ValueError(f"labels of type bool can tell two classes apart, the predictions have {num_classes}")
        notes.append("Labels were given as bool: False is class 0 and True is class 1.")
    elif kind == "f":
        _check_whole(values)
        notes.append(f"Labels were given as {values.dtype.name} and are whole numbers.")
    elif kind in "UT":
        return _match(values, class_names), (*notes, "Labels were given as text and matched with the class names.")
    elif kind not in "iu":
        raise TypeError(f"labels must be whole numbers or text, got {values.dtype}")
    if kind in "uf" and len(values) and values.max().item() >= 2**63:
        raise ValueError(f"labels must lie in [0, {num_classes - 1}], got {values.max()}")
    return torch.from_numpy(values.astype(np.int64)), tuple(notes)


def check_label_range(labels: Int64[Tensor, " N"], num_classes: int) -> None:
    """Refuse class numbers of no class, guessing what they are meant to be.

    Args:
        labels: (N,) class numbers.
        num_classes: the number C of classes.

    Raises:
        ValueError: if there are none, or one lies outside [0, C).
    """
    if not len(labels):
        raise ValueError("there are no samples: labels are empty")
    low, high = (int(value) for value in labels.aminmax())
    if low >= 0 and high < num_classes:
        return
    row = int(((labels < 0) | (labels >= num_classes)).nonzero()[0])
    if low == 1 and high == num_classes:
        hint = "labels that start at 1 need labels - 1"
    elif (low, high, num_classes) == (-1, 1, 2):
        hint = "labels of -1 and 1 need (labels + 1) // 2"
    elif low < 0:
        hint = "drop the samples that have no label"
    else:
        hint = f"labels up to {high} are of at least {high + 1} classes, the predictions of {num_classes}"
    raise ValueError(f"labels must lie in [0, {num_classes - 1}], but row {row} holds {int(labels[row])}; {hint}")


def _check_whole(values: NDArray[Any]) -> None:
    wrong = ~np.isfinite(values) | (values != np.round(values))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"labels must be whole numbers, but row {row} holds {values[row]:g}; drop samples without a label, "
            "and give class numbers instead of probabilities"
        )


def _match(values: NDArray[Any], class_names: Sequence[str] | None) -> Tensor:
    if class_names is None:
        raise ValueError(
            f"labels are text, such as {str(values[0])!r}; give class_names in the order of the predictions' columns"
            if len(values)
            else "there are no samples: labels are empty"
        )
    number = {name: k for k, name in enumerate(class_names)}
    if len(number) < len(class_names):
        twice = next(name for k, name in enumerate(class_names) if number[name] != k)
        raise ValueError(f"two classes are named {twice!r}, so labels cannot be given as text; give class numbers")
    try:
        return torch.tensor([number[str(value)] for value in values], dtype=torch.int64)
    except KeyError as error:
        row = next(i for i, value in enumerate(values) if str(value) not in number)
        shown = ", ".join(repr(name) for name in list(class_names)[:10])
        more = ", ..." if len(class_names) > 10 else ""
        raise ValueError(
            f"labels must be names of classes, but row {row} holds {error}; known: {shown}{more}"
        ) from None
