"""Whatever a user calls an array, as one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trueline.predictions._stored_array import NumpyArray, StoredArray, TensorArray


def as_stored(values: Any, name: str) -> StoredArray:
    """Wrap an array without copying it.

    Args:
        values: a tensor, a NumPy array, a nested list, or anything with ``to_numpy()``.
        name: what an error calls it.

    Returns:
        The array.

    Raises:
        TypeError: if it is no array, or its entries are of several kinds.
        ValueError: if it is a list whose rows differ in length.
    """
    if isinstance(values, list | tuple) and len(values) and all(isinstance(value, Tensor) for value in values):
        values = _stacked(values, name)
    stored = TensorArray(name, values) if isinstance(values, Tensor) else NumpyArray(name, _array(values, name))
    if not stored.shape:
        raise ValueError(f"{name} must hold one entry per sample, got the single value {stored.whole().item()!r}")
    return stored


def as_numpy(values: Any, name: str) -> NDArray[Any]:
    """Return an array in memory.

    Args:
        values: a tensor, a NumPy array, a nested list, or anything with ``to_numpy()``.
        name: what an error calls it.

    Returns:
        The array: of numbers, booleans or text.

    Raises:
        TypeError: if it is no array, or its entries are of several kinds.
        ValueError: if it is a list whose rows differ in length.
    """
    return as_stored(values, name).whole()


def _array(values: Any, name: str) -> NDArray[Any]:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array; drop the masked samples and pass .data")
    if isinstance(values, list | tuple | range):
        values = _from_list(values, name)
    if not isinstance(values, np.ndarray):
        raise TypeError(
            f"{name} must be a tensor, a NumPy array, a list or a data frame, got {type(values).__name__}: "
            "convert it to one of these"
        )
    if values.dtype == object:
        return _plain(values, name)
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


def _from_list(values: Any, name: str) -> NDArray[Any]:
    try:
        array = np.array(values)
    except ValueError as error:
        raise ValueError(f"the rows of {name} differ in length; join batches with numpy.concatenate") from error
    # NumPy turns numbers beside text into text, which must not go unseen.
    return np.array(values, dtype=object) if array.dtype.kind == "U" and array.ndim == 1 else array


def _plain(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Give Python objects the one type that all of them have."""
    flat = values.reshape(-1)
    for kind, dtype in ((str, np.str_), (bool | np.bool_, np.bool_), (int | np.integer, np.int64)):
        if len(flat) and all(isinstance(value, kind) for value in flat):
            try:
                return values.astype(dtype)
            except OverflowError as error:
                raise ValueError(f"{name} hold a number beyond 64 bits") from error
    if len(flat) and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in flat):
        return values.astype(np.float64)
    kinds = sorted({type(value).__name__ for value in flat})
    raise TypeError(
        f"{name} must be all numbers or all text, got objects of type {', '.join(kinds) or 'object'}; "
        "drop samples with missing values and give the rest one type"
    )


def _stacked(values: Any, name: str) -> Tensor:
    try:
        return torch.stack(tuple(values))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{name} came as a list of tensors that differ in shape; join batches with torch.cat"
        ) from error
