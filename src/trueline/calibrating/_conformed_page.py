"""The page of prediction sets: coverage against its promise, in parts, what sizes cost, and the largest sets."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trueline import conformal
from trueline.calibrating._conformed import Conformed, SetPoint
from trueline.calibrating._references import references_of
from trueline.conformal import CoverageTable
from trueline.contracts import import_optional
from trueline.page import Chart, axis, colour, percent, render_page, spec_of

_HERE = Path(__file__).parent
SETS = _HERE / "sets"
"""The folder with the template ``_sets.html.j2``, whose macros show :func:`sets_words` on any page."""

SETS_USED = (conformal.evaluate_sets, conformal.coverage_band)
"""What judges the sets."""

_OPEN = 12  # rows up to which a table stands open
_MEMBERS = 12  # classes of a set that are named before the rest is counted


def render(found: Conformed) -> str:
    """Return the page of prediction sets.

    Args:
        found: what was found.

    Returns:
        One HTML file that opens offline.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    judged, classes = len(found.report.size), len(found.class_names)
    words = {
        "kind": "prediction sets",
        "title": f"Prediction sets of {found.name}, {percent(1 - found.alpha)} agreed",
        "written": f"{found.calibrated:,} samples for thresholds, {judged:,} others, {classes:,} classes",
        "found": found,
        "view": sets_words(found),
        "references": list(map(str, references_of([found.conformal, *SETS_USED]))),
    }
    return render_page(_HERE / "_conformed.html.j2", words, parts=[SETS])


def sets_words(found: Conformed) -> dict[str, Any]:
    """Return what the macros of the template in ``SETS`` show, on any page.

    Args:
        found: what was found.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    report, names = found.report, found.class_names
    return {
        "alpha": found.alpha,
        "judged": len(report.size),
        "sizes": size_chart(report.size.tolist()),
        "trade": trade_chart(found.curve, found.alpha),
        "curve": found.curve,
        "others": found.others,
        "strata": list(_rows(report.by_size, None)),
        "classes": list(_rows(report.by_class, names)),
        "groups": [] if report.by_group is None else list(_rows(report.by_group, found.group_names)),
        "open": _OPEN,
        "largest": [_largest(one, names) for one in found.largest],
        "pictured": any(one.picture for one in found.largest),
    }


def size_chart(sizes: Sequence[int]) -> Chart:
    """Draw how many sets there are of each size; many sizes are put together.

    Args:
        sizes: number of classes of each set.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    largest = max(sizes)
    step = max(1, -(-(largest + 1) // 30))
    counts: dict[int, int] = {}
    for size in sizes:
        counts[size // step] = counts.get(size // step, 0) + 1
    names = {k: str(k) if step == 1 else f"{k * step} to {(k + 1) * step - 1}" for k in sorted(counts)}
    rows = [{"size": name, "order": k, "sets": counts[k]} for k, name in names.items()]
    order = alt.SortField("order")
    chart = alt.Chart(alt.Data(values=rows)).mark_bar(color=colour(0), opacity=0.75).encode(
        x=alt.X("size:N", sort=order, title="classes in the set", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("sets:Q", title="sets", axis=axis(",d")),
        tooltip=[alt.Tooltip("size:N", title="classes"), alt.Tooltip("sets:Q", format=",d")],
    )  # fmt: skip
    common = max(counts, key=counts.__getitem__)
    described = f"Histogram of set sizes, from {min(sizes)} to {largest}; most often {names[common]}."
    return Chart("Set sizes", described, spec_of(chart, height=220))


def trade_chart(curve: Sequence[SetPoint], alpha: float) -> Chart:
    """Draw the mean size of the sets against their coverage, with the wanted rate marked.

    Args:
        curve: points over alpha.
        alpha: the wanted rate of misses.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    rows = [{**vars(point), "wanted": 1 - point.alpha, "here": point.alpha == alpha} for point in curve]
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("coverage:Q", title="share of sets that hold the label", scale=alt.Scale(zero=False))
    x = x.axis(alt.Axis(format=".0%", grid=False, tickCount=5))
    y = alt.Y("size:Q", title="mean number of classes", axis=axis(",~f"), scale=alt.Scale(zero=True))
    tooltip = [
        alt.Tooltip("wanted:Q", format=".1%", title="agreed"),
        alt.Tooltip("coverage:Q", format=".1%"),
        alt.Tooltip("size:Q", format=".2f", title="mean size"),
    ]
    line = base.mark_line(color=colour(0), strokeWidth=2).encode(x=x, y=y, order="coverage:Q")
    marks = base.mark_point(color=colour(0), filled=True, opacity=1).encode(
        x=x, y=y, tooltip=tooltip, size=alt.condition("datum.here", alt.value(130), alt.value(45))
    )
    ends = (curve[-1], curve[0])
    described = "Mean set size against coverage, from " + " to ".join(
        f"{one.size:.2f} classes at {percent(one.coverage)}" for one in ends
    )
    return Chart("What coverage costs", f"{described}.", spec_of(alt.layer(line, marks), height=220))


def _rows(table: CoverageTable, names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    columns = [column.tolist() for column in (table.samples, table.coverage, table.low, table.high, table.mean_size)]
    for name, samples, coverage, low, high, size in zip(table.names, *columns, strict=True):
        yield {
            "name": name if names is None else names[int(name)],
            "samples": samples,
            "coverage": coverage,
            "low": low,
            "high": high,
            "size": size,
        }


def _largest(one: Any, names: Sequence[str]) -> dict[str, Any]:
    more = len(one.classes) - _MEMBERS
    members = ", ".join(names[k] for k in one.classes[:_MEMBERS])
    return {
        "index": one.index,
        "label": names[one.label],
        "held": one.label in one.classes,
        "size": len(one.classes),
        "members": f"{members} and {more} more" if more > 0 else members,
        "picture": one.picture,
    }
