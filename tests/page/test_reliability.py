"""The reliability diagram of a page: bins with samples, the band of a calibrated model, no theme of its own."""

import torch

from trueline.measure import null_calibration, reliability
from trueline.page import bin_rows, reliability_charts


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


def test_bins_without_weight_are_left_out() -> None:
    probs = torch.tensor([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4]])
    weight = torch.tensor([1.0, 1.0, 0.0])
    (row,) = bin_rows(reliability(torch.tensor([0, 1, 0]), probs=probs, weight=weight))
    assert (row["count"], row["accuracy"]) == (2, 0.5)


def test_a_null_adds_the_band_where_a_calibrated_model_would_lie() -> None:
    probs = torch.tensor([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4]])
    diagram, null = reliability(torch.tensor([0, 1, 0]), probs=probs), null_calibration(probs=probs)
    chart, _ = reliability_charts(0, diagram, title="x", null=null)
    rows = bin_rows(diagram, null)
    assert chart.spec["layer"][0]["mark"]["type"] == "rect"
    assert chart.spec["layer"][0]["data"]["values"] == rows
    filled = diagram.count > 0
    assert [row["null_low"] for row in rows] == null.accuracy_low[filled].tolist()
    assert [row["null_high"] for row in rows] == null.accuracy_high[filled].tolist()


def test_specifications_leave_theme_and_width_to_the_page() -> None:
    diagram = reliability(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]))
    for chart in reliability_charts(1, diagram, title="x"):
        assert "config" not in chart.spec
        assert chart.spec["width"] == "container"
