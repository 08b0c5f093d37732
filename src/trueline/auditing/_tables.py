"""The numbers of an audit as flat tables, ready for a data frame or for JSON."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from trueline.auditing._records import Comparison, ModelAudit
from trueline.measure import Evaluation
from trueline.numerics import Interval

Row = dict[str, Any]


def tables(
    models: Sequence[ModelAudit], comparisons: Sequence[Comparison], class_names: Sequence[str]
) -> dict[str, list[Row]]:
    """Return every number as a row of some table, with the model in its first column.

    Args:
        models: what was found about each model.
        comparisons: differences from the first one.
        class_names: the classes, in their order.

    Returns:
        Lists of flat dictionaries by table; NaN and infinities are None.
    """
    makers: dict[str, Callable[[ModelAudit], Iterable[Row]]] = {
        "scores": _scores,
        "bins": _bins,
        "risk_coverage": _risk_coverage,
        "classes": _classes,
        "groups": _groups,
        "mistakes": lambda model: _mistakes(model, class_names),
        "temperatures": _temperatures,
        "detection": _detection,
        "sets": _sets,
        "parts": _parts,
        "sliders": _sliders,
        "notes": lambda model: [{"note": note} for note in model.notes],
    }
    found = {
        name: [_plain({"model": model.name, **row}) for model in models for row in make(model)]
        for name, make in makers.items()
    }
    found["differences"] = [_plain(row) for comparison in comparisons for row in _differences(comparison)]
    return found


def _scores(model: ModelAudit) -> Iterator[Row]:
    states = {"as given": model.evaluation}
    if model.temperature:
        states["with temperature"] = model.temperature.evaluation
    for state, evaluation in states.items():
        yield from ({"state": state, **row} for row in _measures(evaluation))


def _measures(evaluation: Evaluation) -> Iterator[Row]:
    for name, interval in evaluation.scores.items():
        row = {"samples": evaluation.samples, "measure": name, **_ends(interval)}
        yield row | ({"noise": evaluation.noise, "within_noise": evaluation.within_noise} if name == "ece" else {})


def _bins(model: ModelAudit) -> Iterator[Row]:
    table, null = model.evaluation.reliability.to_dict(), model.evaluation.null.to_dict()
    columns = ("lower", "upper", "count", "confidence", "accuracy", "interval_low", "interval_high", "gap")
    for b in range(len(table["count"])):
        row = {name: table[name][b] for name in columns}
        yield row | {"null_low": null["accuracy_low"][b], "null_high": null["accuracy_high"][b]}


def _risk_coverage(model: ModelAudit) -> Iterator[Row]:
    coverages = model.sweep.coverages
    risks = model.evaluation.risk_coverage.at(coverages)
    for coverage, risk in zip(coverages.tolist(), risks.tolist(), strict=True):
        yield {"coverage": coverage, "risk": risk}


def _classes(model: ModelAudit) -> Iterator[Row]:
    for row in model.classes:
        yield {
            "class": row.name,
            "samples": row.samples,
            "predicted": row.predicted,
            **_ends(row.recall, "recall"),
            **_ends(row.precision, "precision"),
            "confidence": row.confidence,
            "gap": row.gap,
            "calibration_error": row.calibration_error,
        }


def _groups(model: ModelAudit) -> Iterator[Row]:
    for group in model.groups:
        yield from ({"group": group.name, **row} for row in _measures(group.evaluation))


def _mistakes(model: ModelAudit, class_names: Sequence[str]) -> Iterator[Row]:
    for row in model.mistakes:
        yield {
            "index": row.index,
            "label": class_names[row.label],
            "prediction": class_names[row.prediction],
            "confidence": row.confidence,
            "label_probability": row.label_probability,
        }


def _temperatures(model: ModelAudit) -> Iterator[Row]:
    if (t := model.temperature) is not None:
        yield {"temperature": t.value, "fitted_on": t.fitted_on, "folds": t.folds, "samples": t.samples}


def _detection(model: ModelAudit) -> Iterator[Row]:
    for row in model.detection:
        yield {"score": row.score, "samples": row.samples, **_ends(row.auroc, "auroc"), **_ends(row.fpr95, "fpr95")}


def _sets(model: ModelAudit) -> Iterator[Row]:
    if model.sets is not None:
        for point in dict.fromkeys([*model.sets.others, *model.sets.curve]):
            yield {"score": point.method, **{name: value for name, value in vars(point).items() if name != "method"}}


def _parts(model: ModelAudit) -> Iterator[Row]:
    found = {"brier": model.evaluation.brier_parts.to_dict(), "corp": model.evaluation.corp.to_dict()}
    for name, parts in found.items():
        yield from ({"decomposition": name, "part": part, "value": value} for part, value in parts.items())


def _sliders(model: ModelAudit) -> Iterator[Row]:
    found = model.sweep
    total = found.answered[:, :1]
    for t, temperature in enumerate(found.temperatures.tolist()):
        for h, threshold in enumerate(found.thresholds.tolist()):
            answered, errors = found.answered[t, h].item(), found.errors[t, h].item()
            yield {
                "temperature": temperature,
                "threshold": threshold,
                "answered": answered / total[t, 0].item(),
                "accuracy": 1 - errors / answered if answered else math.nan,
                "ece": found.calibration_error[t].item(),
                "log_loss": found.log_loss[t].item(),
            }


def _differences(comparison: Comparison) -> Iterator[Row]:
    for state, changes in {"as given": comparison.before, "with temperature": comparison.after}.items():
        for name, interval in (changes or {}).items():
            named = {"model": comparison.model, "baseline": comparison.baseline, "state": state, "measure": name}
            yield {**named, **_ends(interval)}


def _ends(interval: Interval, prefix: str = "") -> Row:
    if not prefix:
        return {"value": interval.value, "low": interval.low, "high": interval.high}
    return {prefix: interval.value, f"{prefix}_low": interval.low, f"{prefix}_high": interval.high}


def _plain(row: Mapping[str, Any]) -> Row:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
