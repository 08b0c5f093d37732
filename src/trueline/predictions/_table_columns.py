"""What the columns of a table of predictions mean, told from their names alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trueline.contracts import unknown_name

LABELS = ("label", "labels", "y", "target")
_KNOWN = (*LABELS, "logit_<class>", "prob_<class>", "logit", "prob", "logits", "probs", "group", "weight")
_INDEX = ("", "Unnamed: 0", "__index_level_0__", "index")


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Args:
        label: column of the labels, or None.
        kind: whether the scores are logits or probabilities.
        scores: columns of the scores in the order of the classes, or the one column of class 1 of two, or of lists.
        form: ``"classes"`` for a column per class, ``"one"`` for class 1 of two, ``"lists"`` for all in one column.
        class_names: from the columns' names; None if they have none, or only numbers.
        group: column of the groups, or None.
        weight: column of the weights, or None.
    """

    label: str | None
    kind: Literal["logits", "probs"]
    scores: tuple[str, ...]
    form: Literal["classes", "one", "lists"]
    class_names: tuple[str, ...] | None
    group: str | None
    weight: str | None


def understand_columns(names: Sequence[str], *, labelled: bool = True) -> Columns:
    """Tell what each column means.

    Args:
        names: of all columns, in their order.
        labelled: whether there must be labels.

    Returns:
        The columns.

    Raises:
        ValueError: if a name is not understood, or columns are missing or doubled.
    """
    for k, name in enumerate(names):
        if name in names[:k]:
            raise ValueError(f"there are two columns named {name!r}; keep one")
        if not _is_known(name):
            hint = "; leave out a data frame's index when writing (index=False)" if name in _INDEX else ""
            raise ValueError(unknown_name("column", name, dict.fromkeys(_KNOWN)) + hint)
    labels = [name for name in names if name in LABELS]
    if len(labels) > 1 or (labelled and not labels):
        raise ValueError(f"expected one column of labels, called {' or '.join(LABELS)}, got {_listed(labels)}")
    scores = [name for name in names if name.startswith(("logit", "prob"))]
    kinds = {"logits" if name.startswith("logit") else "probs" for name in scores}
    forms = {_form(name) for name in scores}
    if len(kinds) != 1 or len(forms) != 1:
        raise ValueError(
            "expected the columns logit_<class> for every class, or prob_<class> for every class, or for two classes "
            f"one column logit or prob of class 1, or in Parquet one column logits or probs of lists; "
            f"got {_listed(scores)}"
        )
    form = forms.pop()
    kind: Literal["logits", "probs"] = "logits" if kinds == {"logits"} else "probs"
    class_names = None
    if form == "classes":
        scores, class_names = _in_order(scores)
    elif len(scores) > 1:
        raise ValueError(f"expected one column of scores, got {_listed(scores)}")
    return Columns(
        label=labels[0] if labels else None,
        kind=kind,
        scores=tuple(scores),
        form=form,
        class_names=class_names,
        group="group" if "group" in names else None,
        weight="weight" if "weight" in names else None,
    )


def _is_known(name: str) -> bool:
    return name in (*LABELS, "group", "weight", "logit", "prob", "logits", "probs") or (
        name.startswith(("logit_", "prob_")) and not name.endswith("_")
    )


def _form(name: str) -> Literal["classes", "one", "lists"]:
    if "_" in name:
        return "classes"
    return "lists" if name.endswith("s") else "one"


def _in_order(scores: list[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """Order numbered columns by number; keep the order of named ones."""
    classes = [name.partition("_")[2] for name in scores]
    if len(scores) == 1:
        raise ValueError(
            f"expected a column for every class, got {scores[0]} alone; for class 1 of two, call it "
            f"{scores[0].partition('_')[0]}"
        )
    if not all(re.fullmatch(r"[0-9]+", name) for name in classes):
        return scores, tuple(classes)
    start = scores[0].partition("_")[0]
    expected = [f"{start}_{k}" for k in range(len(scores))]
    if set(scores) != set(expected):
        raise ValueError(
            f"numbered columns must run from {expected[0]} to {expected[-1]} without a gap, "
            f"got {_listed(sorted(scores))}"
        )
    return expected, None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"
