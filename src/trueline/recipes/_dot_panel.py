"""One panel of a figure: what variants scored, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trueline.contracts import ACCENT, NEUTRAL, import_optional
from trueline.numerics import mean_interval

_ROW = 17  # height of a line in pixels


def dot_panel(
    title: str,
    rows: Mapping[str, Sequence[float]],
    *,
    dashed: Sequence[float] = (),
    zero: bool = False,
    width: int = 210,
    named: bool = True,
) -> Any:
    """Return a chart with a line for each variant: its mean over seeds, the 95 % t interval and the single seeds.

    Args:
        title: what was scored, with its unit.
        rows: by what to call the variants, one value per seed.
        dashed: values to mark.
        zero: whether the axis begins at zero.
        width: of the panel, in pixels.
        named: whether the variants are named beside it; in one row of panels the first names them for all.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of a study")
    values = []
    for name, scores in rows.items():
        mean, low, high = mean_interval(torch.tensor(scores))
        values.append({"of": name, "mean": mean, "low": low, "high": high, "seeds": list(scores)})
    axis = alt.Axis(labelLimit=260, grid=False) if named else None
    base = alt.Chart(alt.Data(values=values)).encode(y=alt.Y("of:N", title=None, sort=list(rows), axis=axis))
    x = {"title": None, "scale": alt.Scale(zero=zero), "axis": alt.Axis(tickCount=4)}
    seeds = base.transform_flatten(["seeds"]).mark_point(size=10, color=NEUTRAL, opacity=0.5, filled=True)
    spans = base.mark_rule(strokeWidth=2, color=ACCENT).encode(x=alt.X("low:Q", **x), x2="high:Q")
    tooltip = ["of:N", *(alt.Tooltip(f"{field}:Q", format=".4f") for field in ("mean", "low", "high"))]
    means = base.mark_point(filled=True, size=40, opacity=1, color=ACCENT).encode(
        x=alt.X("mean:Q", **x), tooltip=tooltip
    )
    layers = [seeds.encode(x=alt.X("seeds:Q", **x)), spans, means]
    if dashed:
        marks = alt.Chart(alt.Data(values=[{"at": value} for value in dashed]))
        layers.insert(0, marks.mark_rule(color=NEUTRAL, strokeDash=[4, 4]).encode(x=alt.X("at:Q", **x)))
    return alt.layer(*layers).properties(title=title, width=width, height=_ROW * len(rows))
