"""The linear pieces of a network: along paths, and in a plane through three samples."""

import math

import torch
from torch import Tensor

from trueline.numerics import Interval
from trueline.probe import (
    NotPiecewiseLinearError,
    ShiftPath,
    deviation_by_quadrature,
    slice_partition,
    trace_segment,
)
from trueline.probing._records import Measured, Number
from trueline.probing._setting import Batch, Setting
from trueline.probing._telling import UNIT, about_samples, exactly
from trueline.probing._words import number_text, with_ends

_SHORT = 1 / 64  # of a way, to see how many boundaries there are before all of it is traced
_MOST = 500  # boundaries on a path: what lies beyond is left out
_PER_CROSSING = 2.0  # regions in the plane for each squared boundary on the way between two samples, about the most met


def regions(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the boundaries of linear pieces on a path around each sample.

    An image is joined to itself shifted by a pixel, any other input to the next sample, by a straight segment; of which
    only the beginning is taken where it crosses very many boundaries. A network that is not piecewise linear has its
    deviation from straight lines measured by quadrature.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    start, (end, way) = batch.inputs, _ends(setting, batch)
    try:
        reach = min(1.0, _MOST / max(_crossings(setting, start[:1], end[:1]), 1))
        record = trace_segment(setting.model, start, torch.lerp(start, end, reach))
    except NotPiecewiseLinearError as error:
        return _bent(setting, batch, end, way, error)
    notes: tuple[str, ...] = ()
    if reach < 1:
        way = f"the first {100 * reach:.2g} % of the way {way}"
        notes = (
            f"Only {way} is traced: all of it crosses too many boundaries. Models compare over the same length only.",
        )
    else:
        way = f"the way {way}"
    crossings, apart = Interval.of_mean(record.crossings.double()), Interval.of_mean(record.relative_change)
    spacing = 1 / record.mean_density.value if record.mean_density.value > 0 else math.inf
    sentences = (
        f"Over {way}, a sample crosses {with_ends(crossings)} boundaries between linear pieces on average, one "
        f"every {number_text(spacing)} of the way's length. Inside a piece the network is exactly a straight plane.",
        f"At a boundary the slopes change by {number_text(100 * apart.value)} % of their length on average. Many "
        "pieces that hardly differ are as good as one: judge by the deviation from straight lines, not by the count.",
        f"On average over the way and the outputs, the network is {with_ends(record.mean_deviation)} away from the "
        "straight line between its ends.",
    )
    numbers = (
        Number("boundaries on a path, mean", crossings),
        Number("boundaries by length", record.mean_density, f"1 / {UNIT}"),
        Number("deviation from straight lines", record.mean_deviation, "outputs"),
        Number("change of the slopes at a boundary, mean", apart, "of their length"),
    )
    return about_samples(
        setting,
        batch,
        record.density,
        "boundaries per unit of the input",
        records={"trace_segment": record},
        sentences=sentences,
        numbers=numbers,
        notes=notes,
    )


def plane(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the linear pieces and the decision boundary in a plane through three samples of different classes.

    Where the plane between them has far more than ``count`` pieces, it is drawn around the first one only: as many
    boundaries as there are on the way to the others tell how far it may reach.

    Args:
        setting: the model.
        batch: samples, each class in its turn; three of them are taken.
        count: about how many pieces at most.
    """
    corners = batch.inputs[:3]
    crossed = _crossings(setting, corners[[0, 0]], corners[[1, 2]])
    reach = min(1.0, math.sqrt(count / _PER_CROSSING) / max(crossed, 1.0))
    record = slice_partition(setting.model, torch.lerp(corners[:1], corners, reach))
    names = [setting.subject.class_names[int(label)] for label in batch.examples.labels[:3]]
    nearest = record.input_distance[0].item()
    where = (
        f"In the plane through a sample of {names[0]}, one of {names[1]} and one of {names[2]}"
        if reach == 1
        else f"Around a sample of {names[0]}, in the plane through it, one of {names[1]} and one of {names[2]}"
    )
    held = int((record.class_share > 0).sum())
    said = (
        "one and the same class" if held == 1 else f"{held} of {len(record.class_share)} classes, parted by thick lines"
    )
    sentences = (
        f"{where}, the network has {len(record.area):,} linear pieces, thin lines in the picture, and predicts "
        f"{said}. The nearest boundary of a piece is "
        f"{number_text(nearest)} from the first sample.",
        "The picture is exact, but it is one plane out of very many: another three samples give another one. Brighter "
        "pieces are steeper.",
    )
    notes: tuple[str, ...] = ()
    if reach < 1:
        notes = (
            f"The marks 2 and 3 are not the other samples but lie {100 * reach:.2g} % of the way towards them; the "
            "whole plane has too many pieces to be drawn.",
        )
    numbers = (
        Number("linear pieces", exactly(len(record.area))),
        Number("median area of a piece", exactly(record.area.median().item()), f"{UNIT} squared"),
        Number("length of the decision boundary", exactly(record.boundary_length), UNIT),
        Number("from the first sample to the next piece", exactly(nearest), UNIT),
    )
    return Measured({"slice_partition": record}, sentences, numbers, notes=notes)


def needs_three(setting: Setting, split: str) -> str:
    """Return why there is no plane, or nothing.

    Args:
        setting: the samples.
        split: which of them.
    """
    size = len(setting.subject.parts[split])
    if size < 3:
        return f"it needs three samples, and there are {size}"
    if math.prod(setting.subject.input_shape) < 2:
        return "it needs inputs of two numbers or more"
    return ""


def _crossings(setting: Setting, start: Tensor, end: Tensor) -> float:
    """Return about how many boundaries a segment crosses on average, from its beginning."""
    found = trace_segment(setting.model, start, torch.lerp(start, end, _SHORT))
    return found.crossings.double().mean().item() / _SHORT


def _ends(setting: Setting, batch: Batch) -> tuple[Tensor, str]:
    """Return where the segment from each sample ends, and what it leads to."""
    if setting.largest_shift:
        return ShiftPath(radii=(1,), directions=1).stacked(batch.inputs)[:, 0, 1], "to itself shifted by a pixel"
    if len(batch) > 1:
        return batch.inputs.roll(-1, dims=0), "in a straight line to the next sample"
    return torch.zeros_like(batch.inputs), "in a straight line to zero"


def _bent(setting: Setting, batch: Batch, end: Tensor, way: str, error: NotPiecewiseLinearError) -> Measured:
    record = deviation_by_quadrature(setting.model, batch.inputs, end)
    apart, length = record.absolute_deviation.mean(dim=1), record.length
    sentences = (
        f"Over the way {way}, the network is {with_ends(record.mean_deviation)} away from the straight line between "
        "its ends, on average over the way and the outputs.",
        "This network bends everywhere, so that it has no linear pieces that could be counted.",
    )
    return about_samples(
        setting,
        batch,
        torch.where(length > 0, apart / torch.where(length > 0, length, 1), 0),
        "deviation from straight lines, outputs",
        records={"deviation_by_quadrature": record},
        sentences=sentences,
        numbers=(Number("deviation from straight lines", record.mean_deviation, "outputs"),),
        notes=(f"No pieces are counted: {error}.",),
    )
