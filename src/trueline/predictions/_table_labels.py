"""Labels and groups in a table, where numbers may be written as text."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


def table_labels(values: NDArray[Any], class_names: Sequence[str] | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Tell names of classes from class numbers that are written as text.

    Args:
        values: (N,) numbers or text.
        class_names: the names in the columns, in their order, or None.

    Returns:
        The labels, as text only if they are names of classes; and notes.

    Raises:
        ValueError: if they are neither names of classes nor numbers.
    """
    if _is_text(values):
        if class_names is not None and not set(values.tolist()).isdisjoint(class_names):
            return values, ()
        wrong = next((i for i, value in enumerate(values.tolist()) if not _WHOLE.fullmatch(value)), None)
        if wrong is not None:
            fix = (
                "write class numbers, or call the columns of the scores after the classes"
                if class_names is None
                else f"known classes: {', '.join(map(repr, class_names[:10]))}{', ...' if class_names[10:] else ''}"
            )
            raise ValueError(f"labels must be classes, but row {wrong} holds {str(values[wrong])!r}; {fix}")
        values = _numbers(values)
    if class_names is None:
        return values, ()
    return values, (f"Labels are numbers and count the columns of the scores from 0, which is {class_names[0]!r}.",)


def table_groups(values: NDArray[Any]) -> NDArray[Any]:
    """Read groups as numbers where all of them are.

    Args:
        values: (N,) numbers or text.

    Returns:
        The groups.

    Raises:
        ValueError: if one is missing.
    """
    if not _is_text(values):
        return values
    empty = next((i for i, value in enumerate(values.tolist()) if not value), None)
    if empty is not None:
        raise ValueError(f"the group in row {empty} is missing; give such samples a group of their own")
    return _numbers(values) if all(_WHOLE.fullmatch(value) for value in values.tolist()) else values


def _is_text(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "UT"


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([int(value.partition(".")[0]) for value in values.tolist()], dtype=np.int64)
