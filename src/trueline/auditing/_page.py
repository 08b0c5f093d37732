"""The page of an audit: verdict, sliders and charts, scores, and everything behind them, in one HTML file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trueline import calibrate, measure
from trueline.auditing._page_charts import confusion_chart, reliability_charts, risk_chart
from trueline.auditing._page_data import MAIN, MATRIX, bin_rows, cell_rows, distinct, fitted_stop, slider_data, stop_of
from trueline.auditing._records import ModelAudit
from trueline.calibrating import SETS, SETS_USED, sets_words
from trueline.contracts import Reference, facts_of
from trueline.explaining import PAGE
from trueline.measure import MEASURES
from trueline.page import MARKS, colour, render_page
from trueline.probing import GEOMETRY, GEOMETRY_STYLE, ProbingFindings, geometry_words

_HERE = Path(__file__).parent
_AT_ONCE = 12  # pictures shown before the reader asks for more
_DECILES = 10
_UNITS = {"points": "points", "nats": "nats", "score": "0 to 2"}
_USED = (
    measure.accuracy,
    measure.log_loss,
    measure.brier,
    measure.confidence_gap,
    measure.calibration_error,
    measure.null_calibration,
    measure.reliability,
    measure.ks_calibration_error,
    measure.smooth_calibration_error,
    measure.risk_coverage,
    measure.brier_decomposition,
    measure.corp_decomposition,
)
_DETECTING = (measure.auroc, measure.fpr_at_recall)


def render(audit: Any) -> str:
    """Return the page of an audit.

    Args:
        audit: an :class:`Audit`; its title, models, comparisons, class names, geometry and verdict are read.

    Returns:
        One HTML file that opens offline.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    models, names = audit.models, audit.class_names
    scores = list(models[0].evaluation.scores)
    views = [_view(i, model, names) for i, model in enumerate(models)]
    words = {
        "kind": "audit",
        "title": audit.title,
        "written": _written(models, len(names)),
        "verdict": audit.verdict,
        "models": views,
        "comparisons": audit.comparisons,
        "class_names": names,
        "matrix": len(names) <= MATRIX,
        "risk": risk_chart(models),
        "curve": list(_curve(models)),
        "measures": MEASURES,
        "units": {name: "%" if "accuracy" in name else _UNITS[MEASURES[name].unit] for name in MEASURES},
        "scores": scores,
        "main_scores": MAIN,
        "other_scores": [name for name in scores if name not in MAIN],
        "brier_parts": [model.evaluation.brier_parts.to_dict() for model in models],
        "corp_parts": [model.evaluation.corp.to_dict() for model in models],
        "stops": list(_stops(models)),
        "given": stop_of(models[0].sweep),
        "last_temperature": len(models[0].sweep.temperatures) - 1,
        "last_threshold": len(models[0].sweep.thresholds) - 1,
        "sampled": _sampled(models),
        "scaled": [view for view in views if view["audit"].temperature],
        "grouped": [view for view in views if view["audit"].groups],
        "mistaken": [view for view in views if view["audit"].mistakes],
        "detected": [view for view in views if view["audit"].detection],
        "in_sets": [view for view in views if view["sets"]],
        "at_once": _AT_ONCE,
        "geometry": None if audit.geometry is None else geometry_words(audit.geometry),
        "explanations": None if audit.explanations is None else geometry_words(audit.explanations),
        "explained": PAGE["preface"],
        "references": list(dict.fromkeys(map(str, [*references_of(models), *_of_probes(audit)]))),
    }
    return render_page(
        _HERE / "_template.html.j2",
        words,
        data={"sweep": slider_data(models, names)},
        styles=[_HERE / "_audit.css", *([GEOMETRY_STYLE] if _probed(audit) else [])],
        scripts=[_HERE / "_sliders.js", _HERE / "_sorting.js"],
        parts=[GEOMETRY, SETS],
    )


def references_of(models: Sequence[ModelAudit]) -> list[Reference]:
    """Return the references of everything that an audit measures, each once.

    Args:
        models: what was audited.
    """
    used: list[object] = list(_USED)
    if any("top_5_accuracy" in model.evaluation.scores for model in models):
        used.append(measure.top_k_accuracy)
    if any(model.temperature for model in models):
        used.append(calibrate.TemperatureScaling)
    if any(model.detection for model in models):
        used += _DETECTING
    for model in models:
        used += () if model.sets is None else (model.sets.conformal, *SETS_USED)
    return list(dict.fromkeys(reference for item in used for reference in _references(item)))


def _probed(audit: Any) -> list[ProbingFindings]:
    return [found for found in (audit.geometry, audit.explanations) if found is not None]


def _of_probes(audit: Any) -> list[Reference]:
    return [reference for found in _probed(audit) for reference in found.references]


def _references(item: object) -> tuple[Reference, ...]:
    try:
        return facts_of(item).references
    except TypeError:  # not everything was published, a share for instance
        return ()


def _view(i: int, model: ModelAudit, names: Sequence[str]) -> dict[str, Any]:
    sweep, given = model.sweep, stop_of(model.sweep)
    diagram, histogram = reliability_charts(i, model)
    rows = cell_rows(sweep, distinct(names), given)
    confused = [row for row in rows if row["count"] and not row["right"]]
    return {
        "audit": model,
        "label": model.name,
        "position": i,
        "colour": colour(i),
        "mark": MARKS[i % len(MARKS)][1],
        "diagram": diagram,
        "histogram": histogram,
        "bins": bin_rows(sweep, given),
        "confusion": confusion_chart(i, model, names),
        "confused": sorted(confused, key=lambda row: -row["count"])[:20],
        "worst_group": model.evaluation.worst_group() if len(model.groups) > 1 else None,
        "sets": None if model.sets is None else sets_words(model.sets),
        "judged": "cross-validated" if model.temperature and model.temperature.folds else "fitted on other samples",
        "facts": list(_facts(model, len(names))),
    }


def _facts(model: ModelAudit, classes: int) -> Iterator[tuple[str, str]]:
    yield "predictions", model.source
    yield "given as", "logits" if model.kind == "logits" else "probabilities"
    yield "samples", f"{model.evaluation.samples:,}"
    yield "classes", f"{classes:,}"
    yield "bins", f"{len(model.evaluation.reliability.count)}"


def _written(models: Sequence[ModelAudit], classes: int) -> str:
    sizes = {model.evaluation.samples for model in models}
    samples = " and ".join(f"{size:,}" for size in sorted(sizes))
    return f"{samples} samples, {classes:,} classes"


def _stops(models: Sequence[ModelAudit]) -> Iterator[tuple[int, str]]:
    """Yield the temperatures that have a button: as given, and as fitted for each model."""
    yield stop_of(models[0].sweep), "as given"
    for model in models:
        if (stop := fitted_stop(model)) is not None:
            whose = f" for {model.name}" if len(models) > 1 else ""
            yield stop, f"fitted{whose}: {model.sweep.temperatures[stop].item():.2f}"


def _curve(models: Sequence[ModelAudit]) -> Iterator[tuple[float, list[float]]]:
    """Yield the share of errors of each model at every tenth of the samples."""
    sweep = models[0].sweep
    step = max(1, len(sweep.coverages) // _DECILES)
    for p in range(step - 1, len(sweep.coverages), step):
        yield sweep.coverages[p].item(), [model.sweep.risk[stop_of(model.sweep), p].item() for model in models]


def _sampled(models: Sequence[ModelAudit]) -> str:
    """Return how many samples the charts show, if not all."""
    parts = [
        f"{model.sweep.samples:,} of {model.evaluation.samples:,}"
        for model in models
        if model.sweep.samples < model.evaluation.samples
    ]
    return parts[0] if parts else ""
