"""How the charts of result records look: on light and on dark pages, on no background of their own."""

from typing import Any

NEUTRAL = "#808080"  # readable on white and on black
ACCENT = "#3b82c4"
_SIDE = 280


def plain_chart(chart: Any) -> Any:
    """Return an Altair chart with a transparent background and grey axes.

    Args:
        chart: without properties of its own.
    """
    colours = ("labelColor", "titleColor", "domainColor", "tickColor", "gridColor")
    return (
        chart.properties(width=_SIDE, height=_SIDE, background="transparent")
        .configure_axis(**dict.fromkeys(colours, NEUTRAL), gridOpacity=0.2)
        .configure_view(stroke=None)
    )
