"""Charts hold the measured rows, take their colours from the page and leave out what is missing."""

import json
import math
from typing import Any

from trueline.report._charts import belief_curves as beliefs_over_time
from trueline.report._charts import learning_curves


def epoch(number: int, **tables: dict[str, float]) -> dict[str, Any]:
    return {"epoch": number, **tables}


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = spec["layer"][0]["data"]["values"]
    return rows


def test_each_curve_holds_one_row_per_epoch_and_run() -> None:
    history = [epoch(e, test={"accuracy": 0.5, "log_loss": 1.0, "ece": 0.1}) for e in (1, 2, 3)]
    charts = learning_curves(["a", "b"], [history, history[:2]])
    assert [chart.title for chart in charts] == [
        "Held-out accuracy",
        "Held-out log loss (nats)",
        "Held-out calibration error",
    ]
    assert [(row["run"], row["epoch"]) for row in values(charts[0].spec)] == [
        ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2),
    ]  # fmt: skip


def test_given_and_true_labels_share_a_chart() -> None:
    history = [epoch(1, train={"loss": 1.0, "accuracy_given": 0.6, "accuracy_true": 0.9})]
    (chart,) = learning_curves(["a"], [history])
    assert {row["kind"]: row["value"] for row in values(chart.spec)} == {"given labels": 0.6, "true labels": 0.9}
    assert "given labels: 60.0" in chart.description


def test_missing_and_non_finite_values_are_left_out() -> None:
    history = [epoch(1), epoch(2, test={"accuracy": math.nan}), epoch(3, test={"accuracy": 0.5})]
    (chart,) = learning_curves(["a"], [history])
    assert [row["epoch"] for row in values(chart.spec)] == [3]
    assert json.dumps(chart.spec, allow_nan=False)


def test_no_history_gives_no_charts() -> None:
    assert learning_curves(["a"], [[]]) == []
    assert beliefs_over_time(["a"], [[epoch(1, objective={})]]) == []


def test_every_monitor_has_a_chart() -> None:
    charts = beliefs_over_time(["a"], [[epoch(1, objective={"left_label_share": 0.1, "my_monitor": 2.0})]])
    assert [chart.title for chart in charts] == ["Share that left the given label", "my monitor"]


def test_colours_come_from_the_style_sheet_in_the_order_of_the_runs() -> None:
    history = [epoch(1, test={"accuracy": 0.5})]
    labels = [f"run {i}" for i in range(9)]
    (chart,) = learning_curves(labels, [history] * 9)
    scale = chart.spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == labels
    assert scale["range"][:2] == ["var(--run-0)", "var(--run-1)"]
    assert scale["range"][7:] == ["var(--run-0)", "var(--run-1)"]  # shapes tell them apart
