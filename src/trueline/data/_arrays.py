"""Arrays in one file."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trueline.contracts import unknown_name
from trueline.data._array_file import read_array_file
from trueline.data._examples import Examples
from trueline.data._source import Source

INPUT_NAMES = ("inputs", "images", "x")
LABEL_NAMES = ("labels", "y")
CHANNEL_COUNTS = (1, 3, 4)
PARTS = (*INPUT_NAMES, *LABEL_NAMES, "true_labels", "soft_labels")
KEYS = (*PARTS, *(f"test_{name}" for name in PARTS), "class_names")


def arrays(path: str | Path, *, channels: Literal["first", "last"] | None = None) -> Source:
    """Return the samples in a ``.npz`` or ``.safetensors`` file.

    Keys: ``inputs`` (or ``images``, ``x``), ``labels`` (or ``y``), and optionally ``true_labels``, ``soft_labels``; the
    same with ``test_`` in front for a test set; ``class_names`` (in a safetensors file: metadata, a JSON list).

    Args:
        path: the file.
        channels: position of the channel axis of (N, ., ., .) inputs. None moves a last axis of 1, 3 or 4 to the front
            when the second axis is none of these, and asks when both are.

    Returns:
        Training samples, and test samples if the file has any. uint8 inputs stay as they are, floating-point ones
        become float32.

    Raises:
        ValueError: if the file cannot be read, a key is missing, double or unknown, or shapes or types do not fit.
    """
    path = Path(path)
    values = read_array_file(path)
    for key in values:
        if key not in KEYS:
            raise ValueError(unknown_name(f"key in {path.name}", key, dict.fromkeys(KEYS)))
    prefixes = [""] + (["test_"] if any(key.startswith("test_") for key in values) else [])
    labels = {prefix: _labels(path, values, prefix) for prefix in prefixes}
    highest = max((int(part.max()) for pair in labels.values() for part in pair if len(part)), default=0)
    names = tuple(str(name) for name in values.get("class_names", range(max(highest + 1, 2))))
    parts = [_examples(path, values, prefix, labels[prefix], names, channels) for prefix in prefixes]
    return Source(*parts)


def _labels(path: Path, values: dict[str, NDArray[Any]], prefix: str) -> tuple[Tensor, Tensor]:
    key, given = _one(path, values, prefix, LABEL_NAMES)
    labels = _integers(path, key, given)
    true_key = f"{prefix}true_labels"
    return labels, _integers(path, true_key, values[true_key]) if true_key in values else labels


def _examples(
    path: Path,
    values: dict[str, NDArray[Any]],
    prefix: str,
    labels: tuple[Tensor, Tensor],
    names: tuple[str, ...],
    channels: Literal["first", "last"] | None,
) -> Examples:
    key, inputs = _one(path, values, prefix, INPUT_NAMES)
    soft = values.get(f"{prefix}soft_labels")
    return Examples(
        inputs=_channels_first(path, key, _pixels(path, key, inputs), channels),
        labels=labels[0],
        true_labels=labels[1],
        class_names=names,
        source_index=torch.arange(len(labels[0])),
        soft_labels=None if soft is None else torch.from_numpy(soft),
    )


def _one(path: Path, values: dict[str, NDArray[Any]], prefix: str, names: tuple[str, ...]) -> tuple[str, NDArray[Any]]:
    keys = [prefix + name for name in names]
    found = [key for key in keys if key in values]
    if len(found) != 1:
        raise ValueError(
            f"{path.name} must have exactly one of {', '.join(keys)}, got {', '.join(values) or 'nothing'}"
        )
    return found[0], values[found[0]]


def _integers(path: Path, key: str, values: NDArray[Any]) -> Tensor:
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise ValueError(f"{key} in {path.name} must be integers of shape (N,), got {values.dtype} {values.shape}")
    return torch.from_numpy(values.astype(np.int64))


def _pixels(path: Path, key: str, values: NDArray[Any]) -> Tensor:
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise ValueError(f"{key} in {path.name} must be uint8 or floating point, got {values.dtype}; convert it first")
    if values.ndim not in (2, 4):
        raise ValueError(
            f"{key} in {path.name} must have shape (N, D) or (N, C, H, W), got {values.shape}; "
            "grey images need a channel axis, values[:, None]"
        )
    return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.float32))


def _channels_first(path: Path, key: str, values: Tensor, channels: Literal["first", "last"] | None) -> Tensor:
    if values.ndim == 2:
        return values
    last, first = values.shape[3] in CHANNEL_COUNTS, values.shape[1] in CHANNEL_COUNTS
    if channels is None and last and first:
        raise ValueError(
            f"{key} in {path.name} of shape {tuple(values.shape)} may have its channels first or last; "
            "say channels='first' or channels='last'"
        )
    if channels == "last" or (channels is None and last):
        return values.permute(0, 3, 1, 2).contiguous()
    return values
