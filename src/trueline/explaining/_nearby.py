"""Near another prediction: counterfactuals among the features that the last layer reads."""

from dataclasses import replace

import torch
from jaxtyping import Int64
from torch import Tensor

from trueline.counterfactual import Counterfactuals, LocalSupport, find_counterfactuals
from trueline.explaining._ground import Others, last_layer, others
from trueline.numerics import Interval
from trueline.probing import Batch, Exhibit, Measured, Number, Setting, about_samples, number_text, with_ends
from trueline.steer import features_of, head_of

_SHOWN = 4
_NEIGHBOURS = 20  # as published, where classes are large enough


def counterfactuals(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how far the features must move for another prediction, and whether data lie there.

    The reference is the validation or calibration split, or else the split itself, without each sample in its turn.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    name = head_of(setting.model, batch.inputs[:2])
    reference = _reference(setting, batch, name)
    support = LocalSupport(reference.features, reference.examples.labels, k=_neighbours(reference))
    features = features_of(setting.model, batch.inputs, head=name, batch_size=setting.chunk_size).double()
    found = find_counterfactuals(last_layer(setting.model, name), features, support, exclude=_itself(batch, reference))
    success, supported = (_times(each, 100) for each in (found.success_rate, found.supported_rate))
    way = found.mean_distance
    moved = "" if way is None else f", {with_ends(_times(way, 1 / support.scale))} of that distance away on average"
    sentences = (
        f"Within the usual distance between samples, {with_ends(success)} % of these samples reach the runner-up class "
        f"among the features that the last layer reads{moved}.",
        f"{with_ends(supported)} % end where samples of that class lie as densely as for half of its own. A flip "
        "without such support is an artefact of the boundary, not a picture of the other class.",
    )
    measured = about_samples(
        setting,
        batch,
        -found.boundary_distance,
        "nearness of another prediction: minus the distance in features",
        records={"find_counterfactuals": found},
        sentences=sentences,
        numbers=(
            Number("flips within the usual distance", success, "%"),
            Number("flips with support", supported, "%"),
            Number("distance to the boundary, mean", Interval.of_mean(found.boundary_distance), "features"),
        ),
        notes=(
            f"Data are {len(reference.positions):,} {reference.split} samples, with {support.k} neighbours. A move of "
            "features is no picture: the real sample nearest to its end is shown.",
        ),
    )
    return replace(
        measured,
        exhibits=tuple(_exhibit(setting, batch, found, reference, place) for place in range(min(_SHOWN, len(batch)))),
        titles={"find_counterfactuals": "Distance of the flips"},
    )


def too_few(setting: Setting, split: str) -> str:
    """Return why there are no data to look for support in, or nothing.

    Args:
        setting: the samples.
        split: which of them are explained.
    """
    parts = setting.subject.parts
    if any(name in parts for name in ("validation", "calibration")) or len(parts[split]) >= 8:
        return ""
    return f"it needs other samples to compare with, and there are {len(parts[split])} in all"


def _reference(setting: Setting, batch: Batch, head: str) -> Others:
    for split in ("validation", "calibration"):
        if split in setting.subject.parts and split != batch.split:
            return others(setting, split, None, head)
    return others(setting, batch.split, None, head)


def _itself(batch: Batch, reference: Others) -> Int64[Tensor, " N"] | None:
    """Return where each sample is in the reference, -1 for nowhere; None if they are of different splits."""
    if reference.split != batch.split:
        return None
    same = batch.positions[:, None] == reference.positions
    return torch.where(same.any(dim=1), same.long().argmax(dim=1), -1)


def _neighbours(reference: Others) -> int:
    sizes = torch.bincount(reference.examples.labels)
    return max(1, min(_NEIGHBOURS, int(sizes[sizes > 0].median()) // 2))


def _exhibit(setting: Setting, batch: Batch, found: Counterfactuals, reference: Others, place: int) -> Exhibit:
    names, nearest = setting.subject.class_names, int(found.nearest_index[place])
    shown = {"the sample": batch.picture(place)}
    if nearest >= 0:
        shown["the nearest real sample"] = reference.picture(nearest)
    facts = {
        "predicted": names[int(found.predicted[place])],
        "asked for": names[int(found.target[place])],
        "came": found.status[place] + (", supported" if found.supported[place] else ""),
        "distance": number_text(found.distance[place].item()),
    }
    if nearest >= 0:
        facts["nearest real sample"] = f"{reference.split} {int(reference.positions[nearest])}"
    pictures = {caption: picture for caption, picture in shown.items() if picture is not None}
    return Exhibit(f"sample {int(batch.positions[place])}", pictures, facts)


def _times(value: Interval, factor: float) -> Interval:
    return Interval(factor * value.value, factor * value.low, factor * value.high)
