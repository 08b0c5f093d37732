"""One prediction set from its parts, however they were stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trueline.predictions._checked_blocks import checked_blocks
from trueline.predictions._groups import read_groups
from trueline.predictions._labels import read_labels
from trueline.predictions._pictures import read_images
from trueline.predictions._prediction_set import PredictionSet
from trueline.predictions._stored_array import StoredArray


@dataclass(frozen=True, eq=False)
class Parts:
    """What a set of predictions is made of, as it was stored.

    Args:
        labels: (N,) class numbers or names.
        kind: whether ``values`` are logits or probabilities.
        values: (N, C) predictions, or (N,) of class 1 of two.
        weight: (N,) weights, or None.
        groups: (N,) numbers or text, or None.
        images: N pictures, or None.
        notes: what is already known about how the input was read.
    """

    labels: NDArray[Any]
    kind: Literal["logits", "probs"]
    values: StoredArray
    weight: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    images: StoredArray | None = None
    notes: tuple[str, ...] = ()


def assemble(
    parts: Parts,
    *,
    name: str,
    source: str,
    class_names: Sequence[str] | None = None,
    held_out: PredictionSet | None = None,
) -> PredictionSet:
    """Check the parts against each other and put them together.

    Args:
        parts: as stored.
        name: what a reader calls the model.
        source: in words, where the predictions come from.
        class_names: C names in the order of the columns, or None.
        held_out: predictions on other samples, or None.

    Returns:
        The set; nothing of the predictions themselves has been read.

    Raises:
        ValueError: if the parts do not fit each other.
        TypeError: if one is of the wrong type.
    """
    blocks, classes = checked_blocks(parts.values, parts.kind)
    samples = _common_length(parts)
    names = None if class_names is None else _names(class_names, classes)
    labels, notes = read_labels(parts.labels, classes, names)
    groups, group_names = (None, ()) if parts.groups is None else read_groups(parts.groups, samples)
    pictures, about = (None, ()) if parts.images is None else read_images(parts.images, samples)
    return PredictionSet(
        name=name,
        source=source,
        kind=parts.kind,
        labels=labels,
        num_classes=classes,
        blocks=blocks,
        weight=None if parts.weight is None else _weight(parts.weight, samples),
        groups=groups,
        group_names=group_names,
        class_names=names or (),
        images=pictures,
        held_out=held_out,
        notes=(*parts.notes, *notes, *about),
    )


def _common_length(parts: Parts) -> int:
    labels, values = parts.labels.shape, parts.values.shape
    if 0 in labels:
        raise ValueError(f"there are no samples: labels have shape {labels}")
    if labels[0] != values[0]:
        transposed = len(values) == 2 and values[1] == labels[0]
        hint = (
            f"transpose the {parts.kind} if their columns are the samples"
            if transposed
            else "give one label per row of the predictions"
        )
        raise ValueError(f"labels of shape {labels} do not fit {parts.kind} of shape {values}; {hint}")
    return int(labels[0])


def _names(given: Sequence[str], classes: int) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f"class_names must be a list of names, got the text {given!r}")
    names = tuple(str(name) for name in given)
    if len(names) != classes:
        raise ValueError(
            f"expected one class name per column, got {len(names)} class names and predictions of {classes} classes"
        )
    return names


def _weight(values: NDArray[Any], samples: int) -> Float[Tensor, " N"]:
    if values.shape not in ((samples,), (samples, 1)):
        raise ValueError(f"weight must have shape ({samples},) to match the labels, got {values.shape}")
    if values.dtype.kind not in "iuf":
        raise TypeError(f"weight must be numbers, got {values.dtype}")
    return torch.from_numpy(values.reshape(-1).astype(np.float64))
