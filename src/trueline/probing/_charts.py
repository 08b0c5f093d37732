"""The charts of a probed model, which are those of its records, made to fit a page."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from trueline.contracts import Record
from trueline.page import Chart, spec_of
from trueline.probe import PathTrace, SlicePartition

_HEIGHT = 280
_VERTICES = 400  # of a drawn path: more cannot be told apart
_TITLES = {
    "input_jacobian_norm": "Share of samples with at most a given C",
    "trace_segment": "The outputs along the first path",
    "deviation_by_quadrature": "Share of segments with at most a given deviation",
    "loss_sharpness": "Steepness of the loss up to each step",
    "lipschitz_product_bound": "The bound after each operation",
    "normalised_curvature": "Share of samples with at most a given curvature",
    "filter_bias": "Share of filters that lean against constant inputs, by layer",
    "neural_collapse_of": "Share of samples within a given squared distance of their class centre",
    "distance_from_initialisation": "Distance of each layer from its start",
    "layer_criticality": "Loss of accuracy when one layer is put back",
    "jacobian_nuclear_norm": "Share of samples with at most a given nuclear norm",
    "slice_partition": "Linear pieces and the decision boundary",
    "input_hessian": "Share of samples with at most a given largest eigenvalue",
    "hessian_eigenvalues": "The largest eigenvalues",
    "hessian_trace": "Share of draws with at most a given trace",
    "gradient_inequality": "Share of samples with at most a given ratio",
    "spectral_density": "Density of the eigenvalues",
}
_LEGEND = {"labelColor": "var(--ink-soft)", "titleColor": "var(--ink-soft)", "titleFontWeight": 400}
_UNDRAWN = {"hessian_eigenvalues"}  # a single point


def charts_of(records: Mapping[str, Record], titles: Mapping[str, str]) -> list[Chart]:
    """Draw the records of one probe.

    Args:
        records: by the name of the function that returned each.
        titles: headings for functions that are not of ``trueline.probe``.

    Returns:
        One chart for each record that says more than its numbers.
    """
    titled = {**_TITLES, **titles}
    return [_chart(titled.get(name, name), record) for name, record in records.items() if name not in _UNDRAWN]


def _chart(title: str, record: Record) -> Chart:
    described = f"{title}. {str(record).splitlines()[0]}"
    if isinstance(record, SlicePartition):
        return Chart(title, described, _as_drawn(record.plot()))
    if isinstance(record, PathTrace):
        record, thinned = _thinned(record)
        title += thinned
    return Chart(title, described, spec_of(record.plot(), height=_HEIGHT) | {"config": {"legend": _LEGEND}})


def _as_drawn(chart: Any) -> dict[str, Any]:
    """Return the specification in the chart's own size, for pictures whose sides have the same unit."""
    spec: dict[str, Any] = chart.to_dict()
    del spec["config"]
    for layer in spec.get("layer", []):
        data = layer.get("data", {})
        if data.get("format", {}).get("type") == "csv":  # its reader makes code from text, which pages forbid
            layer["data"] = {"values": _rows(spec["datasets"].pop(data["name"]))}
    return spec


def _rows(table: str) -> list[dict[str, int]]:
    """Return the rows of comma-separated whole numbers under a line of names."""
    names, *lines = [line.split(",") for line in table.splitlines()]
    return [dict(zip(names, map(int, line), strict=True)) for line in lines]


def _thinned(record: PathTrace) -> tuple[PathTrace, str]:
    """Leave out vertices of the first path that could not be told apart; say so."""
    mine = (record.path == 0).nonzero().squeeze(1)
    inner = len(mine) - int(((record.t[mine] == 0) | (record.t[mine] == 1)).sum())
    if len(mine) <= _VERTICES:
        return record, f", with its {inner:,} boundaries"
    kept = mine[torch.linspace(0, len(mine) - 1, _VERTICES).round().long()]
    fields = {name: getattr(record, name)[kept] for name in ("path", "segment", "t", "logits")}
    return replace(record, **fields), f", with some of its {inner:,} boundaries"
