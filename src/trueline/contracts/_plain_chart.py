"""How the charts of result records look: on light and on dark pages, on no background of their own."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts._optional import import_optional

NEUTRAL = "#808080"  # readable on white and on black
ACCENT = "#3b82c4"
_SIDE = 280
_PLOTTED = 400  # points of a drawn curve, whatever the number of samples


def plain_chart(chart: Any) -> Any:
    """Return an Altair chart with a transparent background, grey axes and legends.

    Args:
        chart: without properties of its own.
    """
    colours = ("labelColor", "titleColor", "domainColor", "tickColor", "gridColor")
    return (
        chart.properties(width=_SIDE, height=_SIDE, background="transparent")
        .configure_axis(**dict.fromkeys(colours, NEUTRAL), gridOpacity=0.2)
        .configure_legend(labelColor=NEUTRAL, titleColor=NEUTRAL)
        .configure_view(stroke=None)
    )


def distribution_chart(
    values: Float[Tensor, " N"], title: str, *, mean: float | None = None, purpose: str, logarithmic: bool = False
) -> Any:
    """Return an Altair chart: the share of samples with at most a given value.

    Args:
        values: (N,) one a sample; those that are not finite are left out.
        title: what they are, with the unit.
        mean: drawn as a dashed line; None for none.
        purpose: what asks for the chart, for the message where Altair is missing.
        logarithmic: whether the values, which must be positive then, are on a logarithmic axis.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose=purpose)
    finite = values[values.isfinite()].double()
    shares = torch.linspace(0, 1, min(len(finite), _PLOTTED), dtype=torch.float64)
    quantiles = torch.quantile(finite, shares) if len(finite) else finite
    rows = [{"value": v, "share": s} for v, s in zip(quantiles.tolist(), shares.tolist(), strict=True)]
    x = alt.X("value:Q", title=title, scale=alt.Scale(type="log" if logarithmic else "linear"))
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), title="share of samples")
    tooltip = [alt.Tooltip("value:Q", format=".3g", title=title), alt.Tooltip("share:Q", format=".3g")]
    layers = [alt.Chart(alt.Data(values=rows)).mark_line(color=ACCENT, strokeWidth=2).encode(x=x, y=y, tooltip=tooltip)]
    if mean is not None:
        dashed = alt.Chart(alt.Data(values=[{"value": mean}]))
        layers.insert(0, dashed.mark_rule(color=NEUTRAL, strokeDash=[4, 4]).encode(x=x))
    return plain_chart(alt.layer(*layers))
