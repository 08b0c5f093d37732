"""The reliability diagram of a page."""

from typing import Any

from trueline.contracts import import_optional
from trueline.measure import NullCalibration, Reliability
from trueline.page._charts import MARKS, Chart, axis, colour, spec_of
from trueline.page._words import percent


def reliability_charts(
    run: int, diagram: Reliability, *, title: str, null: NullCalibration | None = None
) -> tuple[Chart, Chart]:
    """Draw accuracy against confidence with Wilson intervals, and the number of samples in each bin.

    Args:
        run: position of the run, which decides colour and mark.
        diagram: the bin table.
        title: what the predictions are, such as ``"DPS as trained"``.
        null: of the same predictions and bins, to draw where a calibrated model would lie; None without.

    Returns:
        The diagram, and the histogram to be set beneath it.
    """
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    rows = bin_rows(diagram, null)
    bins = alt.Chart(alt.Data(values=rows))
    corners = alt.Chart(alt.Data(values=[{"at": 0, "to": 0}, {"at": 1, "to": 1}]))
    x = alt.X("confidence:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(labels=False, ticks=False, title=None))
    y = alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), title="accuracy", axis=axis(".0%"))
    tooltip = [
        alt.Tooltip("lower:Q", format=".2f", title="bin above"),
        alt.Tooltip("upper:Q", format=".2f", title="up to"),
        alt.Tooltip("count:Q", format=",d", title="samples"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("interval_low:Q", format=".1%", title="interval from"),
        alt.Tooltip("interval_high:Q", format=".1%", title="to"),
    ]
    if null is not None:
        tooltip += [
            alt.Tooltip("null_low:Q", format=".1%", title="if calibrated, from"),
            alt.Tooltip("null_high:Q", format=".1%", title="to "),
        ]
    diagonal = corners.mark_line(color="var(--ink-soft)", strokeDash=[3, 4], strokeWidth=1).encode(x="at:Q", y="to:Q")
    intervals = bins.mark_rule(color=colour(run), strokeWidth=2, opacity=0.55).encode(
        x=x, y="interval_low:Q", y2="interval_high:Q"
    )
    shape = MARKS[run % len(MARKS)][0]
    marks = bins.mark_point(color=colour(run), shape=shape, filled=True, size=60, opacity=1).encode(
        x=x, y=y, tooltip=tooltip
    )
    layers = [diagonal, intervals, marks]
    if null is not None:
        band = bins.mark_rect(color="var(--ink-soft)", opacity=0.2).encode(
            x=alt.X("lower:Q", scale=alt.Scale(domain=[0, 1])), x2="upper:Q", y="null_low:Q", y2="null_high:Q",
            tooltip=tooltip,
        )  # fmt: skip
        layers.insert(0, band)
    counts = bins.mark_bar(color=colour(run), opacity=0.55, stroke="var(--paper)").encode(
        x=alt.X("lower:Q", scale=alt.Scale(domain=[0, 1]), title="confidence", axis=alt.Axis(format=".0%", grid=False)),
        x2="upper:Q",
        y=alt.Y("count:Q", title="samples", axis=axis("~s", ticks=2)),
        y2=alt.datum(0),
        tooltip=tooltip,
    )
    described = (
        f"Reliability diagram of {title}: mean confidence {percent(diagram.mean_confidence)}, accuracy "
        f"{percent(diagram.mean_accuracy)}, {sum(row['count'] > 0 for row in rows)} bins with samples."
    )
    return (
        Chart(title, described, spec_of(alt.layer(*layers), height=240)),
        Chart(f"{title}: samples per bin", f"Histogram of the confidences of {title}.", spec_of(counts, height=70)),
    )


def bin_rows(diagram: Reliability, null: NullCalibration | None = None) -> list[dict[str, Any]]:
    """Return the bins that hold samples of positive weight, one dictionary each.

    Args:
        diagram: the bin table.
        null: of the same bins, for the ends of the band of a calibrated model; None without.
    """
    table = diagram.to_dict()
    columns = {
        name: table[name]
        for name in ("lower", "upper", "count", "confidence", "accuracy", "interval_low", "interval_high")
    }
    if null is not None:
        columns |= {"null_low": null.accuracy_low.tolist(), "null_high": null.accuracy_high.tolist()}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [row for row in rows if row["confidence"] is not None]
