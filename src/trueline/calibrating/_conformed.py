"""Prediction sets of a model, judged on samples that no threshold has seen, as numbers, sentences and one page."""

from dataclasses import dataclass
from typing import Any

from trueline.calibrating._findings import Findings
from trueline.conformal import SetReport
from trueline.contracts import ConformalClassifier


@dataclass(frozen=True)
class LargeSet:
    """One of the judged samples with the most classes in its set.

    Args:
        index: row of the sample.
        label: its label.
        classes: those in the set, the most probable first.
        picture: as a data URI; None without pictures.
    """

    index: int
    label: int
    classes: tuple[int, ...]
    picture: str | None


@dataclass(frozen=True)
class SetPoint:
    """Coverage and size of the sets of one method at one alpha.

    Args:
        method: by its name on the command line.
        alpha: wanted rate of misses.
        coverage: share of the judged samples whose label is in the set.
        size: mean number of classes in a set.
        empty: share of empty sets.
    """

    method: str
    alpha: float
    coverage: float
    size: float
    empty: float


@dataclass(frozen=True, eq=False)
class Conformed(Findings):
    """The result of :func:`conform`.

    Args:
        name: what a reader calls the model.
        source: in words, where the predictions come from.
        method: the score, by its name on the command line.
        conditional: what thresholds depend on, likewise.
        alpha: wanted rate of misses.
        conformal: fitted to everything there was to fit it to; this is what ``save`` writes.
        report: coverage and sizes on the judged samples.
        calibrated: how many samples the judged sets were calibrated on.
        fitted_on: in words, what the kept thresholds were fitted to.
        curve: coverage and size of this method over alpha, on the judged samples.
        others: of every method at this alpha, likewise.
        largest: the judged samples with the largest sets.
        class_names: the classes, in their order.
        group_names: the groups, in their order; empty without.
        verdict: what the numbers say, as paragraphs of plain text.
        notes: what a reader should know, as sentences.
    """

    name: str
    source: str
    method: str
    conditional: str
    alpha: float
    conformal: ConformalClassifier
    report: SetReport
    calibrated: int
    fitted_on: str
    curve: tuple[SetPoint, ...]
    others: tuple[SetPoint, ...]
    largest: tuple[LargeSet, ...]
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return {
            "model": self.name,
            "method": self.method,
            "conditional": self.conditional,
            "alpha": self.alpha,
            "sets": repr(self.conformal),
            "verdict": list(self.verdict),
            "report": self.report.to_dict(),
            "calibrated": self.calibrated,
            "fitted_on": self.fitted_on,
            "curve": [vars(point) for point in self.curve],
            "others": [vars(point) for point in self.others],
            "largest": [{"index": one.index, "label": one.label, "classes": list(one.classes)} for one in self.largest],
            "class_names": list(self.class_names),
            "group_names": list(self.group_names),
            "notes": list(self.notes),
        }

    def _kept(self) -> ConformalClassifier:
        return self.conformal

    def _page(self) -> str:
        from trueline.calibrating._conformed_page import render  # which reads what this class holds

        return render(self)
