"""The charts of an audit, as Vega-Lite specifications over named data that the sliders replace."""

from collections.abc import Mapping, Sequence
from typing import Any

from trueline.auditing._page_data import (
    MATRIX,
    Rows,
    bin_rows,
    cell_rows,
    distinct,
    largest_error,
    risk_rows,
    shown_cells,
    stop_of,
)
from trueline.auditing._records import ModelAudit
from trueline.contracts import import_optional
from trueline.page import MARKS, Chart, axis, colour, percent, spec_of

_HEIGHT = 236
_ALONE = 318  # as high as a diagram and the histogram beneath it
_FADED = 0.22  # opacity of what stays unanswered


def reliability_charts(position: int, model: ModelAudit, *, stop: int | None = None) -> tuple[Chart, Chart]:
    """Draw accuracy against confidence with the band of a calibrated model, and the confidences beneath.

    Args:
        position: place of the model, which decides colour and mark.
        model: its audit.
        stop: temperature, as a stop of the slider; the predictions as given if None.

    Returns:
        The diagram over the data ``bins``, and the histogram over ``bars`` and ``threshold``.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    rows = bin_rows(model.sweep, stop_of(model.sweep) if stop is None else stop)
    bins, bars = alt.Chart(alt.NamedData("bins")), alt.Chart(alt.NamedData("bars"))
    corners = alt.Chart(alt.Data(values=[{"at": 0, "to": 0}, {"at": 1, "to": 1}]))
    unit = alt.Scale(domain=[0, 1])
    bare = alt.Axis(labels=False, ticks=False, title=None, domain=False)
    x, y = (
        alt.X("confidence:Q", scale=unit, axis=bare),
        alt.Y("accuracy:Q", scale=unit, title="accuracy", axis=axis(".0%")),
    )
    tooltip = [
        alt.Tooltip("lower:Q", format=".2f", title="bin above"),
        alt.Tooltip("upper:Q", format=".2f", title="up to"),
        alt.Tooltip("count:Q", format=",d", title="samples"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("interval_low:Q", format=".1%", title="interval from"),
        alt.Tooltip("interval_high:Q", format=".1%", title="to"),
        alt.Tooltip("null_low:Q", format=".1%", title="if calibrated, from"),
        alt.Tooltip("null_high:Q", format=".1%", title="to "),
    ]
    band = bins.mark_rect(color="var(--ink-soft)").encode(
        x=alt.X("lower:Q", scale=unit, axis=bare), x2="upper:Q", y="null_low:Q", y2="null_high:Q",
        opacity=_answered(alt, 0.2, 0.07), tooltip=tooltip,
    )  # fmt: skip
    diagonal = corners.mark_line(color="var(--ink-soft)", strokeDash=[3, 4], strokeWidth=1).encode(x="at:Q", y="to:Q")
    intervals = bins.mark_rule(color=colour(position), strokeWidth=2).encode(
        x=x, y="interval_low:Q", y2="interval_high:Q", opacity=_answered(alt, 0.6, 0.6 * _FADED)
    )
    shape = MARKS[position % len(MARKS)][0]
    marks = bins.mark_point(color=colour(position), shape=shape, filled=True, size=60).encode(
        x=x, y=y, opacity=_answered(alt, 1, _FADED), tooltip=tooltip
    )
    counts = bars.mark_bar(color=colour(position), stroke="var(--paper)", strokeWidth=0.75).encode(
        x=alt.X("lower:Q", scale=unit, title="confidence", axis=alt.Axis(format=".0%", grid=False, tickCount=5)),
        x2="upper:Q",
        y=alt.Y("count:Q", title="samples", axis=axis(",d", ticks=2)),
        y2=alt.datum(0),
        opacity=_answered(alt, 0.75, _FADED),
        tooltip=tooltip[:3],
    )
    rule = alt.Chart(alt.NamedData("threshold")).mark_rule(color="var(--ink)", strokeWidth=1.5).encode(x="at:Q")
    evaluation = model.evaluation
    described = (
        f"Reliability diagram of {model.name}: mean confidence {percent(evaluation.confidence)}, accuracy "
        f"{percent(evaluation.scores['accuracy'].value)}, {len(rows)} bins with samples."
    )
    return (
        Chart(model.name, described, _live(alt.layer(band, diagonal, intervals, marks), _HEIGHT, {"bins": rows})),
        Chart(
            f"{model.name}: confidences",
            f"Histogram of the confidences of {model.name}.",
            _live(alt.layer(counts, rule), 70, {"bars": rows, "threshold": []}),
        ),
    )


def risk_chart(models: Sequence[ModelAudit]) -> Chart:
    """Draw the share of errors among the answered against the share answered, one curve a model.

    Args:
        models: the models.

    Returns:
        The chart over the data ``risk`` and ``here``, where the threshold stands on each curve.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    names, positions = list(distinct([model.name for model in models])), range(len(models))
    rows: Rows = []
    here: Rows = []
    for name, model in zip(names, models, strict=True):
        curve = risk_rows(name, model.sweep, stop_of(model.sweep))
        rows += curve
        here.append(curve[-1])
    top = max(float(model.sweep.risk.max()) for model in models)
    hue = alt.Color(
        "model:N", scale=alt.Scale(domain=names, range=[colour(i) for i in positions]), legend=None, title="model"
    )
    shapes = alt.Scale(domain=names, range=[MARKS[i % len(MARKS)][0] for i in positions])
    shares = alt.Scale(domain=[0, 1])
    x = alt.X("coverage:Q", scale=shares, title="share answered", axis=alt.Axis(format=".0%", grid=False, tickCount=5))
    y = alt.Y("risk:Q", scale=alt.Scale(domain=[0, top or 1], nice=True), title="errors among the answered")
    y = y.axis(axis(".0%" if top > 0.05 else ".1%"))
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("coverage:Q", format=".1%", title="answered"),
        alt.Tooltip("risk:Q", format=".2%", title="errors among them"),
    ]
    base = alt.Chart(alt.NamedData("risk"))
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=hue)
    targets = base.mark_point(size=60, opacity=0, filled=True).encode(x=x, y=y, color=hue, tooltip=tooltip)
    marks = alt.Chart(alt.NamedData("here")).mark_point(
        size=110, filled=True, opacity=1, stroke="var(--paper)", strokeWidth=1.5
    )
    marks = marks.encode(x=x, y=y, color=hue, shape=alt.Shape("model:N", scale=shapes, legend=None), tooltip=tooltip)
    ends = "; ".join(f"{row['model']}: {percent(row['risk'])}" for row in here)
    return Chart(
        "Errors against share answered",
        f"Share of errors against the share of samples answered, most confident first. Answering all: {ends}.",
        _live(alt.layer(lines, targets, marks), _ALONE, {"risk": rows, "here": here}),
    )


def confusion_chart(position: int, model: ModelAudit, class_names: Sequence[str]) -> Chart | None:
    """Draw labels against predictions; with many classes, the most frequent confusions.

    Args:
        position: place of the model, which decides the colour.
        model: its audit.
        class_names: the classes.

    Returns:
        The chart over the data ``cells``, or None where there is nothing to show.
    """
    sweep = model.sweep
    if not shown_cells(sweep, len(class_names)):
        return None
    rows = cell_rows(sweep, distinct(class_names), stop_of(sweep))
    errors = [row for row in rows if not row["right"] and row["count"]]
    worst = max(errors, key=lambda row: row["count"], default=None)
    most = f" Most often: {worst['label']} taken for {worst['prediction']}, {worst['count']:,} times." if worst else ""
    draw = _matrix if len(class_names) <= MATRIX else _list
    spec = draw(position, rows, distinct(class_names), largest_error(sweep))
    return Chart(f"{model.name}: confusions", f"Labels and predictions of {model.name} that differ.{most}", spec)


def _matrix(position: int, rows: Rows, names: Sequence[str], largest: int) -> dict[str, Any]:
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    base = alt.Chart(alt.NamedData("cells"))
    place = alt.Scale(domain=list(names), paddingInner=0.06, paddingOuter=0)
    plain = {"labelLimit": 76, "ticks": False, "domain": False, "labelPadding": 5, "grid": False}
    upright = max(len(name) for name in names) <= 2
    x = alt.X("prediction:N", scale=place, title="prediction", sort=None,
              axis=alt.Axis(labelAngle=0 if upright else -45, **plain))  # fmt: skip
    y = alt.Y("label:N", scale=place, title="label", sort=None, axis=alt.Axis(**plain))
    tooltip = [
        alt.Tooltip("label:N"),
        alt.Tooltip("prediction:N"),
        alt.Tooltip("count:Q", format=",d", title="samples"),
    ]
    # At most this strong, so that the number on a cell can be read on light and on dark pages.
    strength = alt.Scale(type="sqrt", domain=[0, largest], range=[0.03, 0.5], clamp=True)
    right = base.mark_rect(color="var(--ink-soft)", opacity=0.16).transform_filter("datum.right")
    wrong = base.mark_rect(color=colour(position)).transform_filter("!datum.right")
    counts = base.mark_text(fontSize=10 if len(names) > 6 else 12, color="var(--ink)").encode(x=x, y=y, text="text:N")
    layers = alt.layer(
        right.encode(x=x, y=y, tooltip=tooltip),
        wrong.encode(x=x, y=y, opacity=alt.Opacity("count:Q", scale=strength, legend=None), tooltip=tooltip),
        counts,
    )
    return _live(layers, _ALONE - 40, {"cells": rows})


def _list(position: int, rows: Rows, names: Sequence[str], largest: int) -> dict[str, Any]:
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    base = alt.Chart(alt.NamedData("cells"))
    y = alt.Y("pair:N", sort=None, axis=None, scale=alt.Scale(domain=[row["pair"] for row in rows]))
    x = alt.X(
        "count:Q",
        scale=alt.Scale(domain=[0, largest]),
        title="samples",
        axis=alt.Axis(tickCount=4, format="d", grid=False),
    )
    tooltip = [
        alt.Tooltip("label:N"),
        alt.Tooltip("prediction:N"),
        alt.Tooltip("count:Q", format=",d", title="samples"),
    ]
    bars = base.mark_bar(color=colour(position), opacity=0.75, height=5, yOffset=8).encode(x=x, y=y, tooltip=tooltip)
    pairs = base.mark_text(align="left", fontSize=11.5, color="var(--ink)", yOffset=-3, limit=250)
    return _live(alt.layer(bars, pairs.encode(y=y, x=alt.datum(0), text="pair:N")), 26 * len(rows), {"cells": rows})


def _answered(alt: Any, full: float, faded: float) -> Any:
    return alt.condition("datum.answered", alt.value(full), alt.value(faded))


def _live(chart: Any, height: int, data: Mapping[str, Rows]) -> dict[str, Any]:
    return spec_of(chart, height=height) | {"datasets": dict(data)}
