"""The audit: everything that saved predictions say about a classifier, as numbers, sentences and one page."""

from collections.abc import Sequence
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
from trueline.contracts import write_atomically
from trueline.predictions import PredictionSet
from trueline.probing import ProbingFindings, probing_verdict


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
        geometry: what probing the model found; None where only its predictions are known.
        explanations: what explaining its predictions found, likewise.
    """

    title: str
    models: tuple[ModelAudit, ...]
    comparisons: tuple[Comparison, ...]
    class_names: tuple[str, ...]
    bins: int
    geometry: ProbingFindings | None = None
    explanations: ProbingFindings | None = None

    @property
    def verdict(self) -> tuple[str, ...]:
        """What the numbers say, as paragraphs of plain text."""
        return verdict(self.models, self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as tables that JSON can hold: ``pandas.DataFrame(audit.to_dict()["scores"])`` is one.

        The tables, lists of flat dictionaries with a column ``model``: ``scores``, ``differences``, ``bins``,
        ``risk_coverage``, ``classes``, ``groups``, ``mistakes``, ``temperatures``, ``detection``, ``sets``, ``parts``,
        ``sliders`` and ``notes``; beside them ``title``, ``verdict`` and ``class_names``, and ``geometry`` and
        ``explanations`` where the model was probed. What is unknown is None.
        """
        return {
            "title": self.title,
            "verdict": list(self.verdict),
            "class_names": list(self.class_names),
            **tables(self.models, self.comparisons, self.class_names),
            **({} if self.geometry is None else {"geometry": self.geometry.to_dict()}),
            **({} if self.explanations is None else {"explanations": self.explanations.to_dict()}),
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
        """Return the verdict, and what probing the model and explaining its predictions found."""
        probed = [found for found in (self.geometry, self.explanations) if found is not None]
        return "\n\n".join([*self.verdict, *(line for found in probed for line in probing_verdict(found))])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        del include, exclude  # a notebook may ask for less, and takes what it wants from all
        return mimebundle(self)


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
        title=title or f"Audit of {listed(names)}",
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


def _check_sets(sets: Sequence[PredictionSet], outside: Sequence[PredictionSet] | None) -> None:
    if not sets:
        raise ValueError("expected predictions of at least one model, got none")
    names = [predictions.name for predictions in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"the models need different names to be told apart, got {listed(names)}")
    sizes = {predictions.num_classes for predictions in sets}
    if len(sizes) > 1:
        raise ValueError(
            f"the models must predict the same classes, got {listed([str(size) for size in sizes])} of them"
        )
    if outside is not None and len(outside) != len(sets):
        raise ValueError(f"expected one outside set for each of the {len(sets)} models, got {len(outside)}")


def listed(names: Sequence[str]) -> str:
    """Return names as they stand in a sentence."""
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
