"""What a recalibration map changes, judged on samples it was not fitted to, as numbers, sentences and one page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trueline.calibrate import CalibratorChoice
from trueline.calibrating._findings import Findings
from trueline.contracts import Calibrator
from trueline.measure import Evaluation, interval_row
from trueline.numerics import Interval

JUDGED = ("accuracy", "log_loss", "brier", "ece", "ace", "ece_classwise", "confidence_gap")


@dataclass(frozen=True, eq=False)
class Recalibration(Findings):
    """The result of :func:`recalibrate`.

    Args:
        name: what a reader calls the model.
        source: in words, where the predictions come from.
        method: the map, by its name on the command line.
        calibrator: fitted to everything there was to fit it to; this is what ``save`` writes.
        before: measures of the predictions as given.
        after: measures of the same samples, each mapped by a map that has not seen its label.
        change: after minus before, paired, with 95 % intervals.
        changed: share of the samples whose predicted class is another one now.
        choice: how the map was chosen, where it was.
        fitted_on: in words, what the map was fitted to.
        fitted: how many samples that were.
        folds: parts of the cross-validation, where the judged samples are also the fitted ones; else None.
        class_names: the classes, in their order.
        verdict: what the numbers say, as paragraphs of plain text.
        notes: what a reader should know, as sentences.
    """

    name: str
    source: str
    method: str
    calibrator: Calibrator
    before: Evaluation
    after: Evaluation
    change: Mapping[str, Interval]
    changed: float
    choice: CalibratorChoice | None
    fitted_on: str
    fitted: int
    folds: int | None
    class_names: tuple[str, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return {
            "model": self.name,
            "method": self.method,
            "map": repr(self.calibrator),
            "verdict": list(self.verdict),
            "fitted_on": self.fitted_on,
            "fitted": self.fitted,
            "folds": self.folds,
            "changed": self.changed,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "change": [{"measure": name, **interval_row(value)} for name, value in self.change.items()],
            "choice": None if self.choice is None else self.choice.to_dict(),
            "notes": list(self.notes),
        }

    def _kept(self) -> Calibrator:
        return self.calibrator

    def _page(self) -> str:
        from trueline.calibrating._recalibration_page import render  # which reads what this class holds

        return render(self)
