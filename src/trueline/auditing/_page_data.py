"""What the charts of an audit show at one stop of the sliders, and all stops as data for the page."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from trueline.auditing._records import ModelAudit, Sweep

Rows = list[dict[str, Any]]

MAIN = ("accuracy", "log_loss", "brier", "ece", "confidence_gap")  # measures shown first
MATRIX = 12  # classes up to which every cell of the confusion matrix has room
LISTED = 12  # confusions that are listed where there are more classes
_ROWS = ("count", "confidence", "accuracy", "interval_low", "interval_high", "null_low", "null_high")
_SCORES = ("answered", "errors", "calibration_error", "noise", "log_loss", "gap")
_DRAWN, _WRITTEN = 5, 12  # significant digits of what is only drawn, and of what is also written in words


def stop_of(sweep: Sweep, temperature: float = 1.0) -> int:
    """Return the stop of the temperature slider that is nearest to a temperature."""
    return int((sweep.temperatures - temperature).abs().argmin())


def fitted_stop(model: ModelAudit) -> int | None:
    """Return the stop of a model's own temperature; None without one, or where it lies beyond the slider."""
    if model.temperature is None:
        return None
    stop = stop_of(model.sweep, model.temperature.value)
    return stop if math.isclose(model.sweep.temperatures[stop].item(), model.temperature.value, rel_tol=1e-6) else None


def bin_rows(sweep: Sweep, stop: int) -> Rows:
    """Return the bins that hold samples at one temperature, with nothing left unanswered."""
    edges = sweep.edges.tolist()
    columns = {name: getattr(sweep, name)[stop].tolist() for name in _ROWS}
    rows = [
        {"lower": edges[b], "upper": edges[b + 1], "answered": True, **{name: columns[name][b] for name in _ROWS}}
        for b in range(len(edges) - 1)
    ]
    return [row for row in rows if row["count"]]


def risk_rows(name: str, sweep: Sweep, stop: int) -> Rows:
    """Return the share of errors by the share answered."""
    pairs = zip(sweep.coverages.tolist(), sweep.risk[stop].tolist(), strict=True)
    return [{"model": name, "coverage": coverage, "risk": risk} for coverage, risk in pairs]


def cell_rows(sweep: Sweep, names: Sequence[str], stop: int) -> Rows:
    """Return the shown cells of the confusion matrix, in the order of ``shown_cells``."""
    counts, cells = sweep.confusion[stop, :, 0].tolist(), sweep.cells.tolist()
    rows = []
    for k in shown_cells(sweep, len(names)):
        label, prediction = cells[k]
        right, count = label == prediction, counts[k]
        shown = {"label": names[label], "prediction": names[prediction], "count": count, "right": right}
        rows.append(
            shown | {"text": str(count) if count else "", "pair": f"{names[label]} taken for {names[prediction]}"}
        )
    return rows


def shown_cells(sweep: Sweep, classes: int) -> list[int]:
    """Return which cells of the sweep are drawn: all of a small matrix, else the most frequent errors."""
    if classes <= MATRIX:
        return list(range(len(sweep.cells)))
    counts = sweep.confusion[stop_of(sweep), :, 0]
    errors = ((sweep.cells[:, 0] != sweep.cells[:, 1]) & (counts > 0)).nonzero().squeeze(1)
    return [int(k) for k in errors[counts[errors].argsort(descending=True, stable=True)][:LISTED]]


def largest_error(sweep: Sweep) -> int:
    """Return the largest number of samples in one cell off the diagonal; at least one."""
    off = sweep.cells[:, 0] != sweep.cells[:, 1]
    return max(1, int(sweep.confusion[:, off, 0].max()) if bool(off.any()) else 1)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that a chart can tell apart: equal ones get their position."""
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({i})" for i, name in enumerate(names))


def temperature_words(models: Sequence[ModelAudit]) -> list[str]:
    """Return what each stop of the temperature slider is called."""
    sweep = models[0].sweep
    words = [f"{value:.3g}" for value in sweep.temperatures.tolist()]
    words[stop_of(sweep)] = "1, as given"
    for model in models:
        if (stop := fitted_stop(model)) is not None:
            words[stop] += f", fitted for {model.name}"
    return words


def slider_data(models: Sequence[ModelAudit], class_names: Sequence[str]) -> dict[str, Any]:
    """Return every stop of both sliders, for the script that moves the charts.

    Args:
        models: the models; all are swept over the same temperatures, thresholds and coverages.
        class_names: the classes.

    Returns:
        Lists and numbers that JSON can hold. What is only drawn keeps five digits.
    """
    names, sweep = distinct(class_names), models[0].sweep
    return {
        "temperatures": temperature_words(models),
        "given": stop_of(sweep),
        "thresholds": sweep.thresholds.tolist(),
        "coverages": _short(sweep.coverages, _DRAWN),
        "edges": sweep.edges.tolist(),
        "models": [
            _model(name, model.sweep, names)
            for name, model in zip(distinct([m.name for m in models]), models, strict=True)
        ],
    }


def _model(name: str, sweep: Sweep, names: Sequence[str]) -> dict[str, Any]:
    shown = shown_cells(sweep, len(names))
    return {
        "name": name,
        "samples": sweep.samples,
        **{column: _short(getattr(sweep, column), _DRAWN) for column in (*_ROWS, "risk")},
        **{column: _short(getattr(sweep, column), _WRITTEN) for column in _SCORES},
        "cells": [[names[label], names[prediction]] for label, prediction in sweep.cells[shown].tolist()],
        "confusion": [[_drops(cell) for cell in stop] for stop in sweep.confusion[:, shown].tolist()],
    }


def _drops(counts: Sequence[int]) -> str:
    """Write falling counts as their drops, most of which are zero and take one character."""
    drops = [counts[0], *(before - after for before, after in itertools.pairwise(counts))]
    return ",".join(str(drop) if drop else "" for drop in drops).rstrip(",")


def _short(values: torch.Tensor, digits: int) -> Any:
    """Return nested lists of numbers with few digits; NaN becomes None."""
    return _rounded(values.tolist(), digits)


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, list):
        return [_rounded(item, digits) for item in value]
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{digits}g}")
