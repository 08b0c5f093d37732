"""The figure of a sweep: one panel a quantity, over the width of a network or the time in training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trueline.contracts import ACCENT, NEUTRAL, import_optional
from trueline.numerics import mean_interval

_COLOURS = [ACCENT, "#3f9a5f", "#c2703d"]
_WIDTH, _HEIGHT = 210, 180


@dataclass(frozen=True)
class Panel:
    """One quantity, or several on one axis.

    Args:
        title: what is drawn, with its unit.
        lines: metrics by what to call them; the name of a single one is not shown.
        logarithmic: whether the axis is; all values are positive then.
    """

    title: str
    lines: Mapping[str, str]
    logarithmic: bool = False


def sweep_chart(
    scores: Mapping[str, Mapping[str, Sequence[float]]], panels: Sequence[Panel], *, what: str = "width"
) -> Any:
    """Return a chart with the mean over seeds and its 95 % t interval, and dashed where the given labels are fitted.

    Args:
        scores: per variant and metric, one value per seed; the variants drawn are called ``what`` and a number, and
            ``threshold`` has the metric ``what``, whose median is marked.
        panels: what to draw.
        what: what the sizes are.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of a study")
    sizes = {int(found[1]): name for name in scores if (found := re.fullmatch(rf"{what} (\d+)", name))}
    fitted = alt.Chart(alt.Data(values=[{"size": torch.tensor(scores["threshold"][what]).median().item()}]))
    x = alt.X("size:Q", title=what, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(tickCount=5, grid=False))
    rule = fitted.mark_rule(color=NEUTRAL, strokeDash=[4, 4]).encode(x=x)
    charts = []
    for panel in panels:
        labels = list(panel.lines)
        rows = [
            _row(size, label, scores[name][metric], panel.logarithmic)
            for label, metric in panel.lines.items()
            for size, name in sizes.items()
        ]
        scale = alt.Scale(type="log") if panel.logarithmic else alt.Scale(zero=False)
        legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolStrokeWidth=3, labelColor=NEUTRAL)
        colour = alt.Color(
            "label:N",
            scale=alt.Scale(domain=labels, range=_COLOURS[: len(labels)]),
            legend=legend if len(labels) > 1 else None,
        )
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour)
        y = {"scale": scale, "title": None, "axis": alt.Axis(tickCount=4, grid=not panel.logarithmic)}
        band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", **y), y2="high:Q")
        tooltip = [alt.Tooltip(f"{field}:Q", format=".4g") for field in ("size", "mean", "low", "high")]
        line = base.mark_line(strokeWidth=2).encode(y=alt.Y("mean:Q", **y))
        points = base.mark_point(filled=True, opacity=1, size=22).encode(y=alt.Y("mean:Q", **y), tooltip=tooltip)
        drawn = alt.layer(rule, band, line, points)
        charts.append(drawn.properties(title=panel.title, width=_WIDTH, height=_HEIGHT))
    seeds = len(scores["threshold"][what])
    words = f"Mean and 95 % interval over {seeds} seeds. Dashed: the first {what} that fits 99 % of the given labels."
    return side_by_side(charts, words, columns=2 if len(charts) == 4 else 3)


def side_by_side(charts: Sequence[Any], words: str, *, columns: int) -> Any:
    """Return panels as one chart, readable on light and on dark pages.

    Args:
        charts: Altair charts with titles and sizes of their own.
        words: what is drawn, above the panels.
        columns: panels in a row.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of a study")
    grey = dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), NEUTRAL)
    return (
        alt.concat(*charts, columns=columns, background="transparent")
        .properties(title=alt.Title(words, anchor="start", fontSize=11, offset=12))
        .resolve_scale(color="independent")
        .configure_axis(**grey, gridOpacity=0.2)
        .configure_title(color=NEUTRAL, fontWeight="normal")
        .configure_view(stroke=None)
    )


def _row(size: int, label: str, values: Sequence[float], logarithmic: bool) -> dict[str, Any]:
    mean, low, high = mean_interval(torch.tensor(values))
    # On a logarithmic axis there is no place for the part of an interval that is not positive.
    return {
        "size": size,
        "label": label,
        "mean": mean,
        "low": max(low, mean / 10) if logarithmic else low,
        "high": high,
    }
