"""The picture of a plane partition: polygons coloured by a value, their edges, and the decision boundary."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import import_optional, plain_chart

_DRAWN = 10_000  # regions
_COLOURS = 12
_SIDE = 420  # pixels of the longer side
_DIGITS = 4  # of a coordinate, relative to the domain: a tenth of a pixel on a large screen


def slice_chart(
    vertices: Float[Tensor, "V 2"],
    start: Int64[Tensor, " R1"],
    area: Float[Tensor, " R"],
    value: Float[Tensor, " R"],
    boundary: Float[Tensor, "B 2 2"],
    inputs: Float[Tensor, "K 2"],
    domain: Float[Tensor, "n 2"],
    *,
    purpose: str,
) -> Any:
    """Return an Altair chart of polygons, the largest if there are more than can be drawn.

    Args:
        vertices: (V, 2) corners, one polygon after another.
        start: (R + 1,) where each begins.
        area: (R,) of each.
        value: (R,) what is coloured, by rank.
        boundary: (B, 2, 2) ends of lines.
        inputs: (K, 2) points to mark.
        domain: (n, 2) the frame.
        purpose: what asks for the chart, for the message where Altair is missing.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose=purpose)
    low, high = domain.amin(dim=0), domain.amax(dim=0)
    width, height = (high - low).tolist()
    unit = 10.0**_DIGITS / max(width, height)
    drawn = area.argsort(descending=True)[:_DRAWN].sort().values
    rank = torch.empty_like(drawn)
    rank[value[drawn].argsort()] = torch.arange(len(drawn))
    colour = (rank * _COLOURS // len(drawn)).tolist()

    # Comma-separated whole numbers, several times smaller than one object a row.
    polygons, borders = ["p,c,i,u,v"], ["b,u,v"]
    grid = ((vertices - low) * unit).round().long().tolist()
    for polygon, number in enumerate(drawn.tolist()):
        corners = grid[start[number] : start[number + 1]]
        polygons += [f"{polygon},{colour[polygon]},{i},{u},{v}" for i, (u, v) in enumerate(corners)]
    for number, ends in enumerate(((boundary - low) * unit).round().long().tolist()):
        borders += [f"{number},{u},{v}" for u, v in ends]
    marks = [{"input": k + 1, "u": u, "v": v} for k, (u, v) in enumerate(((inputs - low) * unit).tolist())]

    scales = [alt.Scale(domain=[0, side * unit], nice=False, zero=False) for side in (width, height)]
    # Labels in the unit of the input, though the data count in parts of the domain.
    axes = [
        alt.Axis(
            values=[(tick - begin) * unit for tick in _ticks(begin, end)],
            labelExpr=f"format(datum.value / {unit!r} + {begin!r}, '.3~g')",
            grid=False,
        )
        for begin, end in zip(low.tolist(), high.tolist(), strict=True)
    ]
    u, v = (
        make(f"{name}:Q", title=f"{title} coordinate, unit of the input", scale=scale, axis=axis)
        for make, name, title, scale, axis in zip((alt.X, alt.Y), "uv", ("first", "second"), scales, axes, strict=True)
    )
    fill = alt.Fill("c:O", scale=alt.Scale(scheme="viridis"), legend=None)
    regions = (
        alt.Chart(_table(alt, polygons))
        .mark_line(filled=True, interpolate="linear-closed", stroke="white", strokeWidth=0.4, strokeJoin="round")
        .encode(x=u, y=v, detail="p:N", fill=fill, order="i:Q")
    )
    edges = (
        alt.Chart(_table(alt, borders))
        .mark_line(color="black", strokeWidth=2.5, strokeCap="round")
        .encode(x=u, y=v, detail="b:N")
    )
    points = (
        alt.Chart(alt.Data(values=marks))
        .mark_point(filled=True, size=90, fill="white", stroke="black", opacity=1)
        .encode(x=u, y=v, tooltip=alt.Tooltip("input:O"))
    )
    names = (
        alt.Chart(alt.Data(values=marks))
        .mark_text(dx=9, dy=-9, fontWeight="bold", fill="white", stroke="black", strokeWidth=0.5)
        .encode(x=u, y=v, text="input:O")
    )
    sides = [max(1, round(_SIDE * side / max(width, height))) for side in (width, height)]
    return plain_chart(alt.layer(regions, edges, points, names)).properties(width=sides[0], height=sides[1])


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, about five of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _table(alt: Any, lines: list[str]) -> Any:
    return alt.InlineData(values="\n".join(lines), format=alt.DataFormat(type="csv"))
