"""The page of a recalibration: reliability before and after, what changed, how the map was chosen, how to use it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trueline import measure
from trueline.calibrate import AutomaticCalibration
from trueline.calibrating._recalibration import JUDGED, Recalibration
from trueline.calibrating._references import references_of
from trueline.measure import MEASURES, Evaluation
from trueline.page import bin_rows, reliability_charts, render_page

_HERE = Path(__file__).parent
_UNITS = {"points": "points", "nats": "nats", "score": "0 to 2"}
_USED = (
    measure.accuracy,
    measure.log_loss,
    measure.brier,
    measure.calibration_error,
    measure.null_calibration,
    measure.reliability,
)


def render(found: Recalibration) -> str:
    """Return the page of a recalibration.

    Args:
        found: what was found.

    Returns:
        One HTML file that opens offline.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    kept = found.calibrator
    chosen = kept.calibrator_ if isinstance(kept, AutomaticCalibration) else kept
    words = {
        "kind": "recalibration",
        "title": f"{found.name} recalibrated",
        "written": f"{found.before.samples:,} samples, {len(found.class_names):,} classes",
        "found": found,
        "verdict": found.verdict,
        "panels": [_panel(0, "As given", found.before), _panel(1, f"Through {chosen!r}", found.after)],
        "rows": [_row(name, found) for name in JUDGED],
        "judged_by": f"{found.folds}-fold cross-validation" if found.folds else "samples the map was not fitted to",
        "choice": kept.choice_ if isinstance(kept, AutomaticCalibration) else None,
        "choice_says": None if found.choice is None else str(found.choice).partition("\n")[0],
        "classes": list(_classes(found)),
        "groups": list(_groups(found)),
        "chosen": repr(chosen),
        "learned": _learned(chosen.state()),
        "references": list(map(str, references_of([*_USED, kept]))),
    }
    return render_page(_HERE / "_recalibration.html.j2", words)


def _panel(position: int, heading: str, evaluation: Evaluation) -> dict[str, Any]:
    table, null = evaluation.reliability, evaluation.null
    diagram, histogram = reliability_charts(position, table, title=heading, null=null)
    return {
        "heading": heading,
        "diagram": diagram,
        "histogram": histogram,
        "rows": bin_rows(table, null),
        "error": evaluation.scores["ece"].value,
        "within": evaluation.within_noise,
    }


def _row(name: str, found: Recalibration) -> dict[str, Any]:
    facts = MEASURES[name]
    return {
        "title": facts.title,
        "meaning": facts.meaning,
        "unit": facts.unit,
        "shown": "%" if "accuracy" in name else _UNITS[facts.unit],
        "before": found.before.scores[name],
        "after": found.after.scores[name],
        "change": found.change.get(name),
    }


def _classes(found: Recalibration) -> Iterator[dict[str, Any]]:
    counts = found.before.confusion.sum(dim=1).tolist()
    errors = (found.before.class_errors.tolist(), found.after.class_errors.tolist())
    for k, name in enumerate(found.class_names):
        yield {"name": name, "samples": counts[k], "before": errors[0][k], "after": errors[1][k]}


def _groups(found: Recalibration) -> Iterator[dict[str, Any]]:
    for name, before in found.before.groups.items():
        yield {"name": name, "before": before, "after": found.after.groups[name]}


def _learned(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a reader can take in of what the map learned: single numbers and short lists."""
    shown = []
    for name, value in state.items():
        if isinstance(value, float | int):
            shown.append((name.rstrip("_"), f"{value:.4g}"))
        elif _is_short(value):
            shown.append((name.rstrip("_"), ", ".join(f"{number:.3g}" for number in value)))
    return shown


def _is_short(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) <= 12 and all(isinstance(item, float | int) for item in value)
