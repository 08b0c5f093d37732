"""What training has made of the weights, the filters, the layers and the features."""

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from trueline.probe import distance_from_initialisation, filter_bias, layer_criticality, neural_collapse_of
from trueline.probing._records import Measured, Number
from trueline.probing._setting import Batch, Setting
from trueline.probing._telling import about_samples, exactly
from trueline.probing._words import counted, number_text


def arrangement(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return whether the filters of each layer face the same way, against fair coins.

    Args:
        setting: the model.
        batch: a few samples, to see what follows what.
        count: their number.
    """
    record = filter_bias(setting.model, example=batch.inputs)
    best = record.raw if record.folded is None else record.folded
    leaning = [layer for layer in record.layers if (layer.folded or layer.raw).adjusted_p_value < 0.05]
    sentences = (
        f"{100 * best.mass:.3g} % of {best.filters:,} filters lean against constant inputs; fair coins would give 50 "
        f"%, and a difference at least as large with a chance of {number_text(best.p_value)}. In {len(leaning)} of "
        f"{counted(len(record.layers), 'layer')} the filters lean one way beyond chance.",
        "Filters that all lean the same way answer constant inputs in the same way. Training brings that about, more "
        "so with labels that are learned by heart; it is a trace, not a defect.",
    )
    numbers = (
        Number("filters that lean against constant inputs", exactly(best.mass), "share"),
        Number("the same for fair coins", exactly(0.5), "share", "if by chance"),
        Number("chance of such a difference for fair coins", exactly(best.p_value), "", "if by chance"),
        Number("mean cosine with constant inputs", best.mean),
    )
    return Measured({"filter_bias": record}, sentences, numbers)


def no_convolutions(setting: Setting, split: str) -> str:
    """Return why there are no filters, or nothing.

    Args:
        setting: the model.
        split: of the samples.
    """
    return "" if setting.convolutions else "the model has no convolution with a kernel of more than one pixel"


def collapse(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how nearly the features of each class have become one point.

    Args:
        setting: the model.
        batch: the samples, each class in its turn.
        count: their number.
    """
    record = neural_collapse_of(setting.model, batch.inputs, batch.labels, chunk_size=setting.chunk_size)
    ratio = record.nc1_ratio
    sentences = (
        f"What enters the last layer is spread within a class {number_text(100 * math.sqrt(ratio))} % as wide as the "
        f"classes are apart, and for {100 * (record.nc4 or 0):.3g} % of the samples the nearest class centre is not "
        "the class that is predicted.",
        "Zero on both is full collapse, which training far beyond zero error brings about. It is a state, neither good "
        "nor bad: collapsed features keep little about a sample but its class.",
    )
    numbers = (
        Number("spread within classes, NC1", exactly(record.nc1)),
        Number("distance of the centres from a simplex, NC2", exactly(record.means.etf_distance), "of at most 1.41"),
        Number("last layer against the centres, NC3", exactly(math.nan if record.nc3 is None else record.nc3)),
        Number("predicted against the nearest centre, NC4", exactly(math.nan if record.nc4 is None else record.nc4)),
    )
    return about_samples(
        setting,
        batch,
        record.distances,
        "squared distance from the centre of the class",
        records={"neural_collapse_of": record},
        sentences=sentences,
        numbers=numbers,
    )


def no_two_a_class(setting: Setting, split: str) -> str:
    """Return why classes have no spread, or nothing.

    Args:
        setting: the samples.
        split: which of them.
    """
    labels = setting.subject.parts[split].labels
    sizes = labels.bincount(minlength=max(setting.outputs, 2))
    missing = int((sizes == 0).sum())
    if missing:
        return f"it needs samples of every class, and {missing} of {len(sizes)} classes have none here"
    return "" if int(sizes.max()) > 1 else "it needs two samples of a class, and each has one"


def criticality(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return what each layer is worth, put back to where it began or to random weights.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    start = setting.initial
    reference: Mapping[str, Tensor] | Literal["random"] = "random" if start is None else start
    record = layer_criticality(
        setting.model,
        batch.inputs,
        batch.true_labels,
        reference,
        chunk_size=setting.chunk_size,
        generator=setting.generator(),
    )
    costly = [layer for layer in record.layers if layer.drop.low > 0]
    back = "random weights" if start is None else "its weights before training"
    base = record.base_hits.double().mean().item()
    worst = max(record.layers, key=lambda layer: layer.drop.value)
    sentences = (
        f"Put back to {back} while all else stays, {len(costly)} of {counted(len(record.layers), 'layer')} cost "
        f"accuracy beyond noise. The most critical is {_layer(worst.name)}: without its training, "
        f"accuracy falls from {100 * base:.3g} % to {100 * worst.accuracy:.3g} %.",
        "A layer that costs nothing is not useless: others may stand in for it, and only one is put back at a time.",
    )
    numbers = (
        Number("accuracy as it is", exactly(base), "share"),
        Number("largest loss of accuracy by one layer", worst.drop, "share"),
        Number("layers that cost accuracy beyond noise", exactly(len(costly)), f"of {len(record.layers)}"),
    )
    return Measured({"layer_criticality": record}, sentences, numbers)


def initialisation(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how far the weights are from where they began.

    Args:
        setting: the model and its first weights.
        batch: not used.
        count: not used.
    """
    start = setting.initial
    assert start is not None
    record = distance_from_initialisation(setting.model, start)
    moved = [layer for layer in record.layers if layer.relative is not None]
    far = max(moved, key=lambda layer: layer.relative or 0.0, default=None)
    sentences = (
        f"Training has moved the weights by {number_text(record.distance)}, "
        f"{number_text(math.nan if record.relative is None else record.relative)} times the length they began with."
        + ("" if far is None else f" For its size, {_layer(far.name)} went farthest."),
        "A network that stays near its start cannot be much wilder than that start. Far from it, nothing follows.",
    )
    numbers = (
        Number("distance of the weights from their start", exactly(record.distance)),
        Number("the same in lengths of the start", exactly(math.nan if record.relative is None else record.relative)),
    )
    return Measured({"distance_from_initialisation": record}, sentences, numbers)


def no_start(setting: Setting, split: str) -> str:
    """Return why the start is not known, or nothing.

    Args:
        setting: the model.
        split: of the samples.
    """
    if setting.initial is not None:
        return ""
    return (
        "the weights that training began with are not known; list epoch 0 in [training] snapshots before a run begins, "
        "or pass initial= in Python"
    )


def _layer(name: str) -> str:
    return f"layer {name}" if name else "the model itself"
