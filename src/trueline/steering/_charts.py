"""The charts of a steered run: every measure against β, with its interval and the chosen point."""

import math
from collections.abc import Sequence
from typing import Any

from trueline.contracts import import_optional
from trueline.numerics import Interval
from trueline.page import Chart, axis, colour, nats, percent, points, spec_of
from trueline.steering._options import FACTS
from trueline.steering._record import CurvePoint, SteeringFindings

CHARTED = ("accuracy", "log_loss", "ece", "robust_accuracy", "normalised_curvature")
_HEIGHT = 190
_AXIS_FORMATS = {"points": ".1%", "nats": "~f", "score": "~f"}


def curve_charts(found: SteeringFindings) -> list[Chart]:
    """Draw each measure that was taken against β.

    Args:
        found: the curve and the chosen setting.

    Returns:
        One chart for each measure that has values, in the order of ``CHARTED``.
    """
    charts = []
    for name in [*CHARTED, *([] if found.options.metric in CHARTED else [found.options.metric])]:
        taken = [point for point in found.curve if name in point.scores]
        if taken:
            charts.append(_curve(name, taken, found))
    return charts


def value_text(name: str, value: float) -> str:
    """Return a value of a measure as text, without unit.

    Args:
        name: the measure.
        value: its value.
    """
    return (points if FACTS[name].unit == "points" else nats)(value)


def _curve(name: str, taken: Sequence[CurvePoint], found: SteeringFindings) -> Chart:
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    facts = FACTS[name]
    rows = [{"beta": point.beta, **_ends(point.scores[name])} for point in taken]
    low, high = min(point.beta for point in found.curve), max(point.beta for point in found.curve)
    x = alt.X(
        "beta:Q", title="β", scale=alt.Scale(domain=[low, high], nice=False),
        axis=alt.Axis(grid=False, tickCount=4, format="~g"),
    )  # fmt: skip
    text = _AXIS_FORMATS[facts.unit]
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=axis(text))
    shown = ".2%" if facts.unit == "points" else ".4g"
    tooltip = [
        alt.Tooltip("beta:Q", title="β"),
        alt.Tooltip("value:Q", format=shown, title=facts.title),
        alt.Tooltip("low:Q", format=shown, title="interval from"),
        alt.Tooltip("high:Q", format=shown, title="to"),
    ]
    base = alt.Chart(alt.Data(values=rows))
    layers: list[Any] = [
        base.mark_area(color=colour(0), opacity=0.16).encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q"),
        base.mark_line(color=colour(0), strokeWidth=2).encode(x=x, y=y),
        base.mark_point(color=colour(0), filled=True, size=60, opacity=0).encode(x=x, y=y, tooltip=tooltip),
    ]
    marks = _marked(taken, name, found)
    for row, shape, hue in marks:
        mark = alt.Chart(alt.Data(values=[row])).mark_point(
            shape=shape, color=hue, filled=True, size=90, opacity=1, stroke="var(--paper)", strokeWidth=1.5
        )
        layers.append(mark.encode(x=x, y=y, tooltip=tooltip))
    unit = percent if facts.unit == "points" else nats
    said = [f"{row['mark']} {unit(row['value'])}" for row, _, _ in marks]
    values = [point.scores[name].value for point in taken]
    described = (
        f"{facts.title} against beta from {low:g} to {high:g}, between {unit(min(values))} and {unit(max(values))}; "
        f"{', '.join(said)}."
    )
    return Chart(facts.title, described, spec_of(alt.layer(*layers), height=_HEIGHT))


def _marked(taken: Sequence[CurvePoint], name: str, found: SteeringFindings) -> list[tuple[dict[str, Any], str, str]]:
    """Return the points that stand out, each with shape and colour: the model as it was, and the chosen one."""
    by_beta = {point.beta: point.scores[name] for point in taken}
    marks = [(1.0, "square", colour(6), "the model as it was")]
    if not isinstance(found.beta, float | int):  # values by group lie on no point of the curve
        pass
    elif found.beta != 1:
        marks.append((float(found.beta), "circle", colour(1), f"chosen, at {found.beta:g}"))
    return [
        ({"beta": beta, "mark": mark, **_ends(by_beta[beta])}, shape, hue)
        for beta, shape, hue, mark in marks
        if beta in by_beta
    ]


def _ends(interval: Interval) -> dict[str, float | None]:
    """Return value and ends; where the ends are not known the band has no width."""
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return {
        "value": interval.value,
        "low": interval.low if known else interval.value,
        "high": interval.high if known else interval.value,
    }
