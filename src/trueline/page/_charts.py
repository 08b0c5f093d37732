"""Charts as Vega-Lite specifications that take their colours from the page's style sheet."""

from dataclasses import dataclass
from typing import Any

from trueline.contracts import import_optional

COLOURS = 7  # the style sheet defines --run-0 to --run-6 for light and for dark pages
MARKS = (("circle", "●"), ("square", "■"), ("triangle-up", "▲"), ("diamond", "◆"), ("cross", "✚"))


@dataclass(frozen=True)
class Chart:
    """One chart and its words.

    Args:
        title: what it shows.
        description: the same content as a sentence, for those who do not see it.
        spec: Vega-Lite specification, ready for JSON.
    """

    title: str
    description: str
    spec: dict[str, Any]


def colour(position: int) -> str:
    """Return the style-sheet colour of a run or model, by its position; shapes tell the eighth from the first."""
    return f"var(--run-{position % COLOURS})"


def axis(number: str, *, ticks: int = 5) -> Any:
    """Return a vertical axis that leaves the same room for its numbers in every chart.

    Args:
        number: how Vega writes numbers, such as ``".0%"``.
        ticks: about how many numbers to show.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    return alt.Axis(format=number, tickCount=ticks, minExtent=38, labelFlush=True)


def spec_of(chart: Any, *, height: int) -> dict[str, Any]:
    """Return the specification of an Altair chart, as wide as its place and without a theme of its own.

    Args:
        chart: the chart.
        height: in pixels, without axes.
    """
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    del spec["config"]  # the page sets one configuration for all charts
    return spec
