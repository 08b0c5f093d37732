"""The audit: everything that saved predictions say about a classifier, as numbers, sentences and one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trueline.auditing._examine import Progress, examine
from trueline.auditing._notebook import mimebundle
from trueline.auditing._page import render
from trueline.auditing._records import Comparison, ModelAudit
from trueline.auditing._sweep import temperature_stops
from trueline.auditing._tables import tables
from trueline.auditing._verdict import verdict
from trueline.predictions import PredictionSet, from_arrays
from trueline.train import write_atomically


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of :func:`audit`. In a notebook it shows itself: verdict, scores and charts.

    Args:
        title: heading of the page.
        models: what was found about each model.
        comparisons: paired differences of every other model from the first; empty unless all were tested on the same
            samples.
        class_names: the classes, in their order.
        bins: number of bins of the binned measures.
    """

    title: str
    models: tuple[ModelAudit, ...]
    comparisons: tuple[Comparison, ...]
    class_names: tuple[str, ...]
    bins: int

    @property
    def verdict(self) -> tuple[str, ...]:
        """What the numbers say, as paragraphs of plain text."""
        return verdict(self.models, self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as tables that JSON can hold: ``pandas.DataFrame(audit.to_dict()["scores"])`` is one.

        The tables, lists of flat dictionaries with a column ``model``: ``scores``, ``differences``, ``bins``,
        ``risk_coverage``, ``classes``, ``groups``, ``mistakes``, ``temperatures``, ``detection``, ``parts``,
        ``sliders`` and ``notes``; beside them ``title``, ``verdict`` and ``class_names``. What is unknown is None.
        """
        return {
            "title": self.title,
            "verdict": list(self.verdict),
            "class_names": list(self.class_names),
            **tables(self.models, self.comparisons, self.class_names),
        }

    def write_html(self, path: str | Path) -> Path:
        """Write the page: one HTML file that opens offline.

        Args:
            path: the file; replaced as a whole if it exists.

        Returns:
            The path.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        path = Path(path)
        write_atomically(path, render(self))
        return path

    def __str__(self) -> str:
        """Return the verdict."""
        return "\n\n".join(self.verdict)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        del include, exclude  # a notebook may ask for less, and takes what it wants from all
        return mimebundle(self)


def audit(
    labels: Any,
    *,
    logits: Any = None,
    probs: Any = None,
    weight: Any = None,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    images: Any = None,
    held_out: tuple[Any, Any] | None = None,
    outside: Any = None,
    title: str | None = None,
    bins: int = 15,
) -> Audit:
    """Audit a classifier from its predictions on samples it was not trained on.

    Arrays may be tensors, NumPy arrays (also memory-mapped ones), lists or data frames. Several models are audited side
    by side when their predictions come as a mapping from name to array, all on the same samples.

    Args:
        labels: (N,) class numbers from 0; or names, if ``class_names`` holds them.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples; or None.
        groups: (N,) the group of each sample, numbers or text; or None.
        class_names: C names; their numbers if None.
        images: (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) pictures, uint8 or in [0, 1]; or None.
        held_out: labels and predictions, of the same kind, on other samples, to fit the temperature on; with several
            models the predictions are a mapping again. None to cross-validate on the audited samples.
        outside: predictions, of the same kind, on samples from elsewhere that the model should not be sure about; or
            None.
        title: heading of the page.
        bins: number of bins of the binned measures.

    Returns:
        The audit: print it, show it in a notebook, take its numbers or write its page.

    Raises:
        ValueError: if the arrays are not what they should be; the message says what was found and how to mend it.
        TypeError: if something is no array.

    Cost:
        A few passes over the predictions: about a second for 10,000 samples of 100 classes.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1]]).expand(100, 2)
        >>> print(audit(torch.arange(100) % 4 // 3, probs=probs).verdict[0].partition(":")[0])
        Over-confident by 15.0 points
    """
    kind = _kind(logits, probs)
    given = logits if kind == "logits" else probs
    named = dict(given) if isinstance(given, Mapping) else {"model": given}
    apart = _by_model(None if held_out is None else held_out[1], named, "held_out")
    foreign = _by_model(outside, named, "outside")
    sets, others = [], []
    for name, values in named.items():
        pair = None if held_out is None else (held_out[0], apart[name])
        options = {"weight": weight, "groups": groups, "class_names": class_names, "images": images, "held_out": pair}
        sets.append(from_arrays(labels, name=str(name), **{kind: values}, **options))
        if outside is not None:
            others.append(_unlabelled(foreign[name], kind, str(name)))
    return audit_predictions(sets, outside=others or None, title=title, bins=bins)


def audit_predictions(
    sets: Sequence[PredictionSet],
    *,
    outside: Sequence[PredictionSet] | None = None,
    title: str | None = None,
    bins: int = 15,
    progress: Progress | None = None,
) -> Audit:
    """Audit predictions that may be too large for memory, as :func:`read_predictions` gives them.

    Args:
        sets: one per model.
        outside: for each model its predictions on another set; or None.
        title: heading of the page; named after the models if None.
        bins: number of bins of the binned measures.
        progress: called after every block with the samples read, of all models, and their number; or None.

    Returns:
        The audit.

    Raises:
        ValueError: if there are no sets, two have the same name, their classes differ, or predictions are not what they
            should be.
    """
    _check_sets(sets, outside)
    total = sum(len(predictions) for predictions in sets)
    examined, before = [], 0
    for predictions in sets:
        done = before  # bound now: the callback outlives this round of the loop
        report = None if progress is None else (lambda rows, _, done=done: progress(done + rows, total))
        examined.append(examine(predictions, bins=bins, progress=report))
        before += len(predictions)
    stops = temperature_stops([one.temperature.value for one in examined if one.temperature])
    models = tuple(one.audited(stops, outside[i] if outside else None, bins=bins) for i, one in enumerate(examined))
    names = [model.name for model in models]
    return Audit(
        title=title or f"Audit of {_listed(names)}",
        models=models,
        comparisons=_comparisons(models),
        class_names=sets[0].class_names,
        bins=bins,
    )


def _comparisons(models: Sequence[ModelAudit]) -> tuple[Comparison, ...]:
    first, *others = models
    labels = first.evaluation.outcomes.labels
    if not all(torch.equal(labels, other.evaluation.outcomes.labels) for other in others):
        return ()
    return tuple(
        Comparison(
            model=other.name,
            baseline=first.name,
            before=other.evaluation.minus(first.evaluation),
            after=other.temperature.evaluation.minus(first.temperature.evaluation)
            if first.temperature and other.temperature
            else None,
        )
        for other in others
    )


def _kind(logits: Any, probs: Any) -> str:
    if (logits is None) == (probs is None):
        given = "neither" if logits is None else "both"
        raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")
    return "logits" if probs is None else "probs"


def _by_model(values: Any, named: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        if len(named) > 1:
            raise ValueError(f"{what} must map each of the models {_listed(list(named))} to its own predictions")
        return dict.fromkeys(named, values)
    if set(values) != set(named):
        raise ValueError(f"{what} must hold the models {_listed(list(named))}, got {_listed(list(values)) or 'none'}")
    return values


def _unlabelled(values: Any, kind: str, name: str) -> PredictionSet:
    """Read predictions whose labels nobody asks for."""
    return from_arrays([0] * len(values), name=name, **{kind: values})


def _check_sets(sets: Sequence[PredictionSet], outside: Sequence[PredictionSet] | None) -> None:
    if not sets:
        raise ValueError("expected predictions of at least one model, got none")
    names = [predictions.name for predictions in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"the models need different names to be told apart, got {_listed(names)}")
    sizes = {predictions.num_classes for predictions in sets}
    if len(sizes) > 1:
        raise ValueError(
            f"the models must predict the same classes, got {_listed([str(size) for size in sizes])} of them"
        )
    if outside is not None and len(outside) != len(sets):
        raise ValueError(f"expected one outside set for each of the {len(sets)} models, got {len(outside)}")


def _listed(names: Sequence[str]) -> str:
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
