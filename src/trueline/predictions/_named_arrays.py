"""One prediction set from the named arrays of a file, which may hold several splits."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from trueline.contracts import unknown_name
from trueline.predictions._as_numpy import as_numpy
from trueline.predictions._assemble import Parts, assemble
from trueline.predictions._prediction_set import PredictionSet
from trueline.predictions._stored_array import StoredArray

MEANINGS = {
    "logits": "logits",
    "probs": "probs",
    "probabilities": "probs",
    "labels": "labels",
    "targets": "labels",
    "y": "labels",
    "weight": "weight",
    "groups": "groups",
    "images": "images",
}
HELD_OUT = ("calibration", "cal", "val", "valid", "validation")
_UNSAID = ("predictions", "preds", "scores", "score", "outputs", "output")

Keys = dict[str, str]  # the key of each meaning within a split


def read_named_arrays(
    arrays: Mapping[str, StoredArray],
    class_names: Sequence[str] | None,
    *,
    name: str,
    file: str,
    split: str | None,
    labelled: bool = True,
) -> PredictionSet:
    """Find the arrays of one split, and of another that a temperature may be fitted on.

    Args:
        arrays: by key; ``logits`` or ``<split>_logits``, and likewise for all others.
        class_names: C names shared by all splits, or None.
        name: what a reader calls the model.
        file: name of the file, for the source.
        split: the split to read; None for the arrays without a split, for ``test``, or for the only one there is.
        labelled: whether there must be labels; without them all are 0.

    Returns:
        The set.

    Raises:
        ValueError: if a key is not understood, arrays are missing or doubled, or it is not clear which split is meant.
    """
    splits = _splits(arrays, labelled)
    chosen = _choose(splits, split)
    rest = [other for other in splits if other != chosen]
    held = next((other for other in HELD_OUT if other in rest), None)
    apart = None if held is None else _assembled(arrays, splits[held], name, file, class_names, None, ())
    notes = []
    if split is None and (chosen or rest):
        which = f"the split {chosen!r} is" if chosen else "the arrays without a split in their names are"
        notes.append(
            f"Of the {len(splits)} splits in the file, {which} judged." if rest else f"Only {which} in the file."
        )
    if held is not None:
        notes.append(f"The split {held!r} of the same file serves as held-out samples.")
    if unused := [other for other in rest if other != held]:
        notes.append(f"Not used: {_listed(unused)}.")
    return _assembled(arrays, splits[chosen], name, file, class_names, apart, tuple(notes))


def _splits(arrays: Mapping[str, StoredArray], labelled: bool) -> dict[str, Keys]:
    if not arrays:
        raise ValueError("there are no arrays; save logits or probs, and labels")
    splits: dict[str, Keys] = {}
    for key in arrays:
        split, meaning = _understood(key)
        keys = splits.setdefault(split, {})
        if meaning in keys:
            raise ValueError(f"{keys[meaning]} and {key} both are {meaning}; keep one")
        keys[meaning] = key
    for split, keys in splits.items():
        _check_complete(split, keys, labelled)
    return splits


def _understood(key: str) -> tuple[str, str]:
    split, _, word = key.rpartition("_")
    if word in _UNSAID:
        start = f"{split}_" if split else ""
        raise ValueError(
            f"{key!r} does not say what it holds; rename it to {start}logits (unnormalised scores) or {start}probs"
        )
    if word not in MEANINGS:
        known = {**MEANINGS, "class_names": ""}
        raise ValueError(f"{unknown_name('array', key, known)}; a split may come before them, as in test_logits")
    return split, MEANINGS[word]


def _check_complete(split: str, keys: Keys, labelled: bool) -> None:
    start = f"{split}_" if split else ""
    present = ", ".join(keys.values())
    if "logits" in keys and "probs" in keys:
        raise ValueError(f"expected one of {keys['logits']} and {keys['probs']}, got both; keep the logits")
    if "logits" not in keys and "probs" not in keys:
        why = f", for a key before the last underscore names a split, here {split!r}" if split else ""
        raise ValueError(
            f"beside {present} there must be {start}logits or {start}probs{why}; add them or drop {present}"
        )
    if labelled and "labels" not in keys:
        raise ValueError(f"beside {present} there must be {start}labels; add them")


def _choose(splits: Mapping[str, Keys], split: str | None) -> str:
    if split is not None:
        if split not in splits:
            raise ValueError(unknown_name("split", split, {name or "(no name)": "" for name in splits}))
        return split
    for usual in ("", "test"):
        if usual in splits:
            return usual
    if len(splits) > 1:
        raise ValueError(f"there are the splits {_listed(splits)} and no 'test'; say which one with split=")
    return next(iter(splits))


def _assembled(
    arrays: Mapping[str, StoredArray],
    keys: Keys,
    name: str,
    file: str,
    class_names: Sequence[str] | None,
    held_out: PredictionSet | None,
    notes: tuple[str, ...],
) -> PredictionSet:
    kind: Literal["logits", "probs"] = "logits" if "logits" in keys else "probs"
    small = {
        meaning: as_numpy(arrays[keys[meaning]].whole(), keys[meaning])
        for meaning in ("labels", "weight", "groups")
        if meaning in keys
    }
    values = arrays[keys[kind]]
    parts = Parts(
        labels=small.pop("labels") if "labels" in small else np.zeros(values.shape[:1], dtype=np.int64),
        kind=kind,
        values=values,
        images=arrays[keys["images"]] if "images" in keys else None,
        notes=notes,
        **small,
    )
    source = f"{' and '.join(keys[part] for part in (kind, 'labels') if part in keys)} of {file}"
    return assemble(parts, name=name, source=source, class_names=class_names, held_out=held_out)


def _listed(splits: Mapping[str, Keys] | list[str]) -> str:
    return ", ".join(repr(split) if split else "without a name" for split in splits)
