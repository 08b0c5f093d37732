"""What all probes say in the same way: means, medians, the sharpest samples, distances in words."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Record
from trueline.numerics import Interval
from trueline.probe import clean_and_noisy
from trueline.probing._records import Measured, Number, Sharp
from trueline.probing._setting import Batch, Setting
from trueline.probing._words import number_text

_SHOWN = 6  # of the sharpest samples
_TAIL = 0.025  # of each side of a 95 % interval
UNIT = "unit of the input"


def median_of(values: Float[Tensor, " N"]) -> Interval:
    """Return the median of one value per sample and the 95 % interval that two of the values make.

    The k-th smallest and the k-th largest value enclose the median of the population with a chance of
    ``1 - 2·P(Bin(N, 1/2) < k)``, whatever the distribution.

    Args:
        values: (N,) values, N at least 1.

    Example:
        >>> median_of(torch.arange(1.0, 10.0))
        Interval(value=5.0, low=2.0, high=8.0)
    """
    ordered, count = values.double().sort().values, len(values)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]).item() / 2
    below, k = 0.0, 0
    while k < count // 2 and (below := below + math.comb(count, k) / 2**count) <= _TAIL:
        k += 1
    if k == 0:
        return Interval(middle, -math.inf, math.inf)
    return Interval(middle, ordered[k - 1].item(), ordered[count - k].item())


def exactly(value: float) -> Interval:
    """Return a number that no sampling is behind, so that it has no interval.

    Args:
        value: the number.
    """
    return Interval(value, value, value)


def about_samples(
    setting: Setting,
    batch: Batch,
    values: Float[Tensor, " N"],
    name: str,
    *,
    records: Mapping[str, Record],
    sentences: tuple[str, ...],
    numbers: tuple[Number, ...],
    notes: tuple[str, ...] = (),
) -> Measured:
    """Return a result with one value per sample: its sharpest samples, and right and wrong labels apart.

    Args:
        setting: the model.
        batch: the samples.
        values: (N,) what was measured at each.
        name: what the values are, with their unit.
        records: as in ``Measured``.
        sentences: likewise.
        numbers: likewise.
        notes: likewise.
    """
    predicted = setting.logits(batch)
    classes = (predicted > 0).long().squeeze(1) if predicted.shape[1] == 1 else predicted.argmax(dim=1)
    names = setting.subject.class_names
    order = values.argsort(descending=True, stable=True)[:_SHOWN].tolist()
    sharpest = tuple(
        Sharp(
            position=int(batch.positions[place]),
            row=int(batch.examples.source_index[place]),
            label=names[int(batch.examples.labels[place])],
            prediction=_named(names, int(classes[place])),
            value=values[place].item(),
            picture=batch.picture(place),
        )
        for place in order
    )
    split = None if batch.noisy is None else clean_and_noisy(values, batch.noisy)
    return Measured(
        records=records,
        sentences=sentences,
        numbers=numbers,
        per_sample=name,
        sharpest=sharpest if len(values) > 1 else (),
        split=split,
        notes=notes,
    )


def in_grey_levels(distance: float, batch: Batch) -> str:
    """Return what a distance between pictures is when it is spread evenly over all pixels; empty for other inputs.

    Args:
        distance: Euclidean.
        batch: the samples.
    """
    if batch.inputs.ndim != 4 or not batch.unit_range or not math.isfinite(distance):
        return ""
    levels = 255 * distance / math.sqrt(batch.inputs[0].numel())
    return f" (spread evenly over all pixels, {number_text(levels)} of 255 grey levels each)"


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def some(values: Float[Tensor, " N"]) -> Float[Tensor, " M"]:
    """Return the finite values, in double precision.

    Args:
        values: any.
    """
    return values[torch.isfinite(values)].double()
