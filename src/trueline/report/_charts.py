"""The charts of a report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trueline.contracts import import_optional
from trueline.page import MARKS, Chart, axis, colour, nats, percent, spec_of

_DASH = [5, 3]
_MONITORS = {
    "left_label_share": "Share that left the given label",
    "label_weight": "Weight of the given label",
    "belief_spread": "Spread of the belief",
}

History = Sequence[Mapping[str, Any]]


def learning_curves(labels: Sequence[str], histories: Sequence[History]) -> list[Chart]:
    """Draw accuracy on given and true labels, held-out accuracy, log loss and calibration error over epochs.

    Args:
        labels: how the report calls each run.
        histories: the rows of each run's ``metrics.jsonl``.

    Returns:
        The charts that have data.
    """
    held_out = {"test": "test", "validation": "validation"}
    given_true = (("train", "accuracy_true", "true labels"), ("train", "accuracy_given", "given labels"))
    plans = [
        ("Training accuracy", given_true, True),
        ("Held-out accuracy", [(split, "accuracy", name) for split, name in held_out.items()], True),
        ("Held-out log loss (nats)", [(split, "log_loss", name) for split, name in held_out.items()], False),
        ("Held-out calibration error", [(split, "ece", name) for split, name in held_out.items()], True),
    ]
    return _curves(labels, histories, plans)


def belief_curves(labels: Sequence[str], histories: Sequence[History]) -> list[Chart]:
    """Draw what each objective monitored over epochs, one chart per quantity.

    Args:
        labels: how the report calls each run.
        histories: the rows of each run's ``metrics.jsonl``.

    Returns:
        The charts that have data; none if no objective monitors anything.
    """
    names = dict.fromkeys(name for rows in histories for row in rows for name in row.get("objective", {}))
    plans = [
        (_MONITORS.get(name, name.replace("_", " ")), [("objective", name, "")], name == "left_label_share")
        for name in names
    ]
    return _curves(labels, histories, plans)


def _curves(labels: Sequence[str], histories: Sequence[History], plans: Sequence[Any]) -> list[Chart]:
    charts = []
    for title, series, is_share in plans:
        rows = [
            {"run": label, "kind": kind, "epoch": row["epoch"], "value": row[table][name]}
            for label, history in zip(labels, histories, strict=True)
            for row in history
            for table, name, kind in series
            if math.isfinite(row.get(table, {}).get(name, math.nan))
        ]
        if rows:
            kinds = [kind for _, _, kind in series]
            charts.append(Chart(title, _ends(title, rows, is_share), _curve(labels, kinds, rows, is_share)))
    return charts


def _curve(labels: Sequence[str], kinds: Sequence[str], rows: list[dict[str, Any]], is_share: bool) -> dict[str, Any]:
    alt = import_optional("altair", extra="report", purpose="drawing charts")
    last = {(row["run"], row["kind"]): row for row in rows}
    runs = range(len(labels))
    hue = alt.Scale(domain=list(labels), range=[colour(i) for i in runs])
    mark = alt.Scale(domain=list(labels), range=[MARKS[i % len(MARKS)][0] for i in runs])
    dash = alt.Scale(domain=kinds, range=[[1, 0], _DASH][: len(kinds)])
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=6, grid=False))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=axis(".0%" if is_share else ",~f"))
    shown = [alt.Tooltip("run:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("value:Q", format=".1%" if is_share else ".3f")]
    if len(kinds) > 1:
        shown.insert(1, alt.Tooltip("kind:N", title="on"))
    encoded = {"x": x, "y": y, "color": alt.Color("run:N", scale=hue, legend=None)}
    base = alt.Chart(alt.Data(values=rows))
    lines = base.mark_line(strokeWidth=2).encode(
        **encoded, strokeDash=alt.StrokeDash("kind:N", scale=dash, legend=None)
    )
    targets = base.mark_point(size=90, opacity=0, filled=True).encode(**encoded, tooltip=shown)
    ends = alt.Chart(alt.Data(values=list(last.values()))).mark_point(size=55, opacity=1, filled=True)
    ends = ends.encode(**encoded, shape=alt.Shape("run:N", scale=mark, legend=None), tooltip=shown)
    return spec_of(alt.layer(lines, targets, ends), height=200)


def _ends(title: str, rows: list[dict[str, Any]], is_share: bool) -> str:
    last = {(row["run"], row["kind"]): row["value"] for row in rows}
    text = percent if is_share else nats
    ends = "; ".join(f"{run}{f' on {kind}' if kind else ''}: {text(value)}" for (run, kind), value in last.items())
    return f"{title} over {max(row['epoch'] for row in rows)} epochs. Last values: {ends}."
