"""Predictions from arrays in memory, or mapped from files."""

from collections.abc import Sequence
from typing import Any, Literal

from trueline.predictions._as_numpy import as_numpy, as_stored
from trueline.predictions._assemble import Parts, assemble
from trueline.predictions._prediction_set import PredictionSet


def from_arrays(
    labels: Any,
    *,
    logits: Any = None,
    probs: Any = None,
    name: str = "model",
    weight: Any = None,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    images: Any = None,
    held_out: tuple[Any, Any] | None = None,
) -> PredictionSet:
    """Read predictions from arrays: tensors on any device, NumPy arrays, nested lists, or what has ``to_numpy()``.

    Predictions and pictures are not copied as a whole, and tensors come to the CPU block by block.

    Args:
        labels: (N,) class numbers from 0: integers, whole floats, booleans for two classes; or text, if
            ``class_names`` holds all of it.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        name: what a reader calls the model.
        weight: (N,) weights of the samples, at least zero; or None.
        groups: (N,) the group of each sample, numbers or text; or None.
        class_names: C names in the order of the columns; their numbers if None.
        images: (N, H, W), (N, H, W, 1 or 3 or 4) or (N, 1 or 3, H, W) pictures, uint8 or floating point in [0, 1]; or
            None.
        held_out: labels and predictions, of the same kind, on other samples; or None.

    Returns:
        The set. Values of predictions are checked when it is read.

    Raises:
        ValueError: if the arrays do not fit each other; the message names what came and how to mend it.
        TypeError: if one is no array, or of the wrong type.

    Example:
        >>> predictions = from_arrays(["cat", "dog"], probs=[[0.9, 0.1], [0.3, 0.7]], class_names=["cat", "dog"])
        >>> predictions.labels.tolist(), len(predictions)
        ([0, 1], 2)
    """
    if (logits is None) == (probs is None):
        given = "neither" if logits is None else "both"
        raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")
    kind: Literal["logits", "probs"] = "logits" if probs is None else "probs"
    values = logits if probs is None else probs
    parts = Parts(
        labels=as_numpy(labels, "labels"),
        kind=kind,
        values=as_stored(values, kind),
        weight=None if weight is None else as_numpy(weight, "weight"),
        groups=None if groups is None else as_numpy(groups, "groups"),
        images=None if images is None else as_stored(images, "images"),
    )
    apart = None if held_out is None else _held_out(held_out, kind, name, class_names)
    source = f"labels and {kind} passed as arrays"
    return assemble(parts, name=name, source=source, class_names=class_names, held_out=apart)


def _held_out(
    pair: Any, kind: Literal["logits", "probs"], name: str, class_names: Sequence[str] | None
) -> PredictionSet:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"held_out must be a pair of labels and {kind}, got {type(pair).__name__}")
    try:
        parts = Parts(as_numpy(pair[0], "labels"), kind, as_stored(pair[1], kind))
        source = f"held-out labels and {kind} passed as arrays"
        return assemble(parts, name=name, source=source, class_names=class_names)
    except TypeError as error:
        raise TypeError(f"in held_out, {error}") from error
    except ValueError as error:
        raise ValueError(f"in held_out, {error}") from error
