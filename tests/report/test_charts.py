"""Charts hold the measured rows, take their colours from the page and leave out what is missing."""

import json
import math
from typing import Any

import torch

from trueline.measure import reliability
from trueline.report._charts import belief_curves as beliefs_over_time
from trueline.report._charts import bin_rows, learning_curves, reliability_charts


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


def test_the_reliability_chart_shows_the_bins_that_hold_samples() -> None:
    probs = torch.tensor([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4]])
    diagram = reliability(torch.tensor([0, 1, 0]), probs=probs)
    chart, histogram = reliability_charts(0, diagram, title="DPS as trained")
    rows = bin_rows(diagram)
    assert [row["count"] for row in rows] == [1, 2]
    assert chart.spec["layer"][1]["data"]["values"] == rows
    assert histogram.spec["data"]["values"] == rows
    assert "mean confidence 84.0" in chart.description
    assert "2 bins with samples" in chart.description


def test_specifications_leave_theme_and_width_to_the_page() -> None:
    diagram = reliability(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]))
    for chart in reliability_charts(1, diagram, title="x"):
        assert "config" not in chart.spec
        assert chart.spec["width"] == "container"
