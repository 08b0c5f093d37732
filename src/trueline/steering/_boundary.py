"""The decision boundary of a model of two features, at several settings, small enough to stand in a page."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trueline.steering._options import SteeringOptions
from trueline.steering._record import SteeringFindings
from trueline.steering._twin import Twins
from trueline.subjects import Subject, inputs_of

SIDE = 120  # cells along each axis
_STOPS = 16
_POINTS = 600
_MARGIN = 0.1  # of the range of the samples, on each side
_CLASSES = 16  # with more, a byte has no room for class and confidence


def boundary_of(subject: Subject, found: SteeringFindings, twins: Twins) -> dict[str, Any] | None:
    """Return what a model predicts over the plane of its two features, for every stop of a slider.

    Args:
        subject: the model and its samples.
        found: the chosen setting and the grid.
        twins: the model at any setting.

    Returns:
        Ranges of the axes, the stops, the samples, and one byte for each stop and cell,
        ``class · levels + confidence``, rows from the top. None for inputs that
        are not two features, more than 16 classes, or values by group.
    """
    if math.prod(subject.input_shape) != 2 or not isinstance(found.beta, float | int):
        return None
    shown = "train" if "train" in subject.parts else subject.chooser
    examples = subject.parts[shown]
    positions = torch.randperm(len(examples), generator=torch.Generator().manual_seed(found.options.seed))[:_POINTS]
    points = inputs_of(examples, positions).flatten(1)
    ends = [_range(points[:, k]) for k in (0, 1)]
    axes = [low + (torch.arange(SIDE) + 0.5) * (high - low) / SIDE for low, high in ends]
    grid = torch.stack(torch.meshgrid(axes[1].flip(0), axes[0], indexing="ij"), dim=-1).flip(-1).reshape(-1, 2)
    betas = _stops([point.beta for point in found.curve], float(found.beta))
    probs = [_probs(twins, beta, grid.reshape(-1, *subject.input_shape), found.options) for beta in betas]
    classes = probs[0].shape[1]
    if classes > _CLASSES:
        return None
    levels = 256 // classes
    return {
        "side": SIDE,
        "betas": betas,
        "chosen": betas.index(float(found.beta)),
        "classes": list(subject.class_names),
        "levels": levels,
        "x": ends[0],
        "y": ends[1],
        "cells": base64.b64encode(torch.cat([_bytes(part, levels) for part in probs]).numpy().tobytes()).decode(
            "ascii"
        ),
        "points": [[round(v, 5) for v in row] for row in points.tolist()],
        "labels": examples.labels[positions].tolist(),
        "shown": "training" if shown == "train" else shown,
        "of": len(examples),
    }


def _range(values: Tensor) -> tuple[float, float]:
    low, high = values.min().item(), values.max().item()
    room = _MARGIN * (high - low or 1.0)
    return low - room, high + room


def _stops(betas: Sequence[float], chosen: float) -> list[float]:
    """Return up to sixteen of the tried β, evenly, with both ends and the chosen one."""
    last, count = len(betas) - 1, min(_STOPS - 1, len(betas))
    places = {round(k * last / max(1, count - 1)) for k in range(count)} | {betas.index(chosen)}
    return [betas[k] for k in sorted(places)]


def _probs(twins: Twins, beta: float, grid: Tensor, options: SteeringOptions) -> Tensor:
    model = twins.at(beta)
    with torch.inference_mode():
        rows = [
            model(batch.to(twins.device)).float().cpu() for batch in torch.split(grid, max(options.batch_size, 1024))
        ]
    return torch.cat(rows).softmax(1)


def _bytes(probs: Tensor, levels: int) -> Tensor:
    """Return class and confidence of each cell in one byte; the confidence is at least 1/C."""
    confidence, predicted = probs.max(dim=1)
    least = 1 / probs.shape[1]
    share = ((confidence - least) / (1 - least)).clamp(0, 1)
    return (predicted * levels + (share * (levels - 1)).round().long()).to(torch.uint8)
