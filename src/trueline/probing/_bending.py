"""How the loss bends: around samples, and in the weights."""

import math

from trueline.numerics import Interval
from trueline.probe import (
    ShiftPath,
    hessian_eigenvalues,
    hessian_trace,
    input_hessian,
    loss_sharpness,
    normalised_curvature,
    spectral_density,
)
from trueline.probing._records import Measured, Number
from trueline.probing._setting import Batch, Setting
from trueline.probing._telling import UNIT, about_samples, exactly, median_of
from trueline.probing._words import number_text, with_ends

_STEP = 0.1  # of the path, to say what a gradient means
_NODES, _STARTS = 30, 2  # enough for a picture; two starts give an error


def sharpness(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how steep the loss is along shifts of each image, or at the sample alone where inputs are no images.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    shape = setting.subject.input_shape
    radii = tuple(range(1, setting.largest_shift + 1))
    record = loss_sharpness(
        setting.model,
        batch.inputs,
        batch.labels,
        path=ShiftPath(radii=radii),
        true_labels=batch.true_labels,
        image_shape=None if len(shape) == 3 else (1, 1, math.prod(shape)),
        chunk_size=setting.chunk_size,
        generator=setting.generator(),
    )
    where = f"on the way to images shifted by up to {radii[-1]} pixels" if radii else "at the samples themselves"
    sentences: tuple[str, ...] = (
        f"{where.capitalize()}, the loss is as steep as {with_ends(record.mean)} nats per {UNIT} on average: a change "
        f"of length {_STEP:g} along the steepest direction adds about {number_text(_STEP * record.mean.value)} nats.",
    )
    if radii:
        sentences += (
            f"At the samples themselves it is {with_ends(record.mean_at_sample)}. A network that has learned its "
            "samples by heart is flat just there and steep beside them, so look at both.",
        )
    split = record.split
    if split is not None and split.difference is not None:
        said = (
            f"by {with_ends(split.difference)}, which is beyond noise"
            if split.difference.excludes_zero
            else f"by {with_ends(split.difference)}, which is within noise"
        )
        sentences += (f"Around samples with wrong labels it differs from that around the others {said}.",)
    numbers = [Number("steepness along the path, mean", record.mean, f"nats / {UNIT}")]
    if radii:
        numbers.append(Number("steepness at the sample, mean", record.mean_at_sample, f"nats / {UNIT}"))
    return about_samples(
        setting,
        batch,
        record.integrated,
        f"steepness of the loss, nats per {UNIT}",
        records={"loss_sharpness": record},
        sentences=sentences,
        numbers=tuple(numbers),
        notes=() if radii else ("The inputs are no images, or too small ones, that could be shifted.",),
    )


def curvature(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how fast the gradient of the loss turns at each sample.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    record = normalised_curvature(
        setting.model,
        batch.inputs,
        batch.labels,
        chunk_size=setting.chunk_size,
        generator=setting.generator(),
    )
    distance = median_of(1 / record.curvature)
    sentences = (
        f"As an estimate, at half of these samples the gradient of the loss changes by as much as its own length "
        f"within {number_text(distance.value)}. An explanation made of gradients speaks of inputs much "
        "nearer than that.",
        "Folds of ReLUs are not in this number: no derivative sees them. In a ReLU network it is the bending of the "
        "softmax alone.",
    )
    numbers = (
        Number("normalised curvature, mean", record.mean, f"1 / {UNIT}"),
        Number("distance over which the gradient lasts, median", distance, UNIT, "estimate"),
    )
    return about_samples(
        setting,
        batch,
        record.curvature,
        f"normalised curvature, 1 / {UNIT}",
        records={"normalised_curvature": record},
        sentences=sentences,
        numbers=numbers,
    )


def bending(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the ends of the spectrum of the loss's Hessian in the input at each sample.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    record = input_hessian(
        setting.model, batch.inputs, batch.labels, chunk_size=setting.chunk_size, generator=setting.generator()
    )
    largest = Interval.of_mean(record.largest)
    down = (record.smallest < -1e-3 * record.largest.abs()).double().mean().item()
    sentences = (
        f"In its most curved direction the loss bends upwards by {with_ends(largest)} nats per squared {UNIT} on "
        f"average; around {100 * down:.3g} % of the samples it also bends downwards somewhere.",
        "A loss that is nearly zero is nearly flat as well: low values at samples that are learned by heart do not "
        "mean that the network is smooth.",
    )
    numbers = (
        Number("largest eigenvalue, mean", largest, f"nats / {UNIT}²"),
        Number("smallest eigenvalue, mean", Interval.of_mean(record.smallest), f"nats / {UNIT}²"),
        Number("trace, mean", Interval.of_mean(record.trace), f"nats / {UNIT}²"),
    )
    return about_samples(
        setting,
        batch,
        record.largest,
        f"largest eigenvalue, nats per {UNIT} squared",
        records={"input_hessian": record},
        sentences=sentences,
        numbers=numbers,
    )


def minimum(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the largest eigenvalue and the trace of the loss's Hessian in the weights.

    Args:
        setting: the model.
        batch: the samples that the loss is a mean over.
        count: their number.
    """
    given = setting.model, batch.inputs, batch.labels
    largest = hessian_eigenvalues(*given, chunk_size=setting.chunk_size, generator=setting.generator())
    trace = hessian_trace(*given, chunk_size=setting.chunk_size, generator=setting.generator())
    value, error = largest.values[0].item(), largest.errors[0].item()
    start = f"The mean loss over these samples has the sharpness {number_text(value)} ± {number_text(error)}"
    if not largest.converged[0]:
        start += ", not converged and so rather a little more"
    sentences = (
        f"{start}. Plain gradient descent on them stays in such a minimum with steps up to "
        f"{number_text(2 / value) if value > 0 else '–'}; momentum and small batches move that limit.",
        "Sharpness alone does not tell whether a model generalises: rescaling the weights of a ReLU network changes "
        "it, and not one prediction.",
    )
    half = 1.96 * trace.standard_error
    numbers = (
        Number("largest eigenvalue", _around(value, error), "nats / weights²"),
        Number("trace", _around(trace.trace, half), "nats / weights²"),
        Number("largest stable step", exactly(2 / value if value > 0 else math.inf), "weights² / nats", "estimate"),
    )
    return Measured({"hessian_eigenvalues": largest, "hessian_trace": trace}, sentences, numbers)


def spectrum(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how the curvature in the weights is spread over directions.

    Args:
        setting: the model.
        batch: the samples that the loss is a mean over.
        count: their number.
    """
    record = spectral_density(
        setting.model,
        batch.inputs,
        batch.labels,
        steps=_NODES,
        starts=_STARTS,
        chunk_size=setting.chunk_size,
        generator=setting.generator(),
    )
    low, high = record.nodes.min().item(), record.nodes.max().item()
    near = ((record.nodes.abs() <= 2 * record.width) * record.weights).sum(dim=1)
    share = Interval.of_mean(near)
    sentences = (
        f"Of {record.parameters:,} directions in the space of weights, {100 * share.value:.3g} % hardly bend the loss "
        f"at all; the most curved one has {number_text(high)} and the most downward one {number_text(low)}.",
        "The picture is smoothed: nothing narrower than the smoothing is real, and a single large eigenvalue among "
        "millions can be lower than it draws.",
    )
    numbers = (
        Number("share of directions that are nearly flat", share),
        Number("largest value met", exactly(high), "nats / weights²"),
        Number("smallest value met", exactly(low), "nats / weights²"),
    )
    return Measured({"spectral_density": record}, sentences, numbers)


def _around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)
