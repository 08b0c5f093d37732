"""What the model looks at: maps of samples by several methods, and before and after steering; and their spectra."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Explainer
from trueline.explain import (
    Attribution,
    ExplanationGap,
    GradCAM,
    Gradient,
    IntegratedGradients,
    NoiseMean,
    attribute,
    expected_frequency,
    explanation_gap,
    pixel_maps,
)
from trueline.explaining._ground import BETA, percent, steered
from trueline.explaining._map_picture import map_picture
from trueline.numerics import Interval
from trueline.probing import Batch, Exhibit, Measured, Number, Setting, number_text, with_ends

_SHOWN = 4
_NOISE = 0.1  # standard deviation of SmoothGrad, as a share of the range of the inputs
_TOLD = 3  # entries of a table that are named
_SMOOTHED, _STEERED = "SmoothGrad", "gradient, steered"


def maps(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return maps of the samples by several methods, a few of them as pictures.

    Args:
        setting: the model.
        batch: the samples, each class in its turn.
        count: their number.
    """
    found = {name: _attribute(setting, batch, method) for name, method in _methods(setting, batch).items()}
    notes: tuple[str, ...] = ()
    if (twin := steered(setting, batch)) is not None:
        found[_STEERED] = attribute(twin, batch.inputs, found["gradient"].target, chunk_size=setting.chunk_size)
    else:
        notes = ("Nothing in the model can be steered, so there is no map after steering.",)
    shares = {name: percent(_share_of_a_tenth(each.maps)) for name, each in found.items()}
    sentences = (
        "Orange counts for the predicted class and blue against it. Methods answer different questions: the gradient "
        "says what a small change would do, integrated gradients divide the output among the entries, and smoothed "
        "maps are those of a smoother network.",
        f"A tenth of the entries holds {with_ends(shares['gradient'])} % of the gradient's absolute sum. "
        "A map that looks clean is not for that reason right: look at stability and faithfulness below.",
    )
    return Measured(
        records={"attribute": found["gradient"]},
        sentences=sentences,
        numbers=tuple(Number(f"share on a tenth of the entries, {name}", share, "%") for name, share in shares.items()),
        notes=notes,
        exhibits=tuple(_exhibit(setting, batch, found, place) for place in range(min(_SHOWN, len(batch)))),
        titles={"attribute": "Share of samples with at most a given largest gradient"},
    )


def spectra(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how much of each method's maps lies at high frequencies, and how far that is from the gradient.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    gradient = _attribute(setting, batch, Gradient(of="log_probability"))
    own = expected_frequency(gradient.maps)
    smooth = NoiseMean(Gradient(of="log_probability"), sigma=_NOISE * _range(batch))
    gap = explanation_gap(setting.model, batch.inputs, smooth, of="log_probability", chunk_size=setting.chunk_size)
    numbers = [
        Number("expected frequency of the gradient, × 10⁵", _scaled(own.mean)),
        Number("expected frequency of SmoothGrad, × 10⁵", _scaled(Interval.of_mean(gap.explanation_frequency))),
        Number("gap of SmoothGrad, × 10⁵", _scaled(gap.mean)),
    ]
    pixels = batch.inputs[0, 0].numel()
    sentences = [
        f"In units of 10⁻⁵, maps of pure noise of this size have an expected frequency of about "
        f"{number_text(1e5 / (6 * pixels))}; the gradient has {with_ends(_scaled(own.mean))}. The lower, the calmer.",
        _of_smoothing(gap),
    ]
    if (twin := steered(setting, batch)) is not None:
        other = attribute(
            twin, batch.inputs, gradient.target, explainer=Gradient(of="log_probability"), chunk_size=setting.chunk_size
        )
        after = expected_frequency(other.maps)
        moved = Interval.of_mean(after.frequency - own.frequency)
        numbers += [
            Number(f"expected frequency after steering to β = {BETA:g}, × 10⁵", _scaled(after.mean)),
            Number("change by steering, × 10⁵", _scaled(moved)),
        ]
        said = "lowers" if moved.high < 0 else "raises" if moved.low > 0 else "does not clearly change"
        sentences.append(
            f"Steering to β = {BETA:g} {said} it, and the map is the gradient of the network that then predicts."
        )
    return Measured(
        records={"expected_frequency": own, "explanation_gap": gap},
        sentences=tuple(sentences),
        numbers=tuple(numbers),
        titles={
            "expected_frequency": "Mean power of the gradients by frequency",
            "explanation_gap": "Power of gradient and SmoothGrad by frequency",
        },
    )


def _of_smoothing(gap: ExplanationGap) -> str:
    change = with_ends(_scaled(gap.difference))
    if gap.difference.high < 0:
        return (
            f"SmoothGrad changes it by {change}: what it gains in calm it loses as an explanation of this network, "
            "since it is the gradient of another, smoother one."
        )
    if gap.difference.low > 0:
        return (
            f"SmoothGrad makes the maps no calmer here, but changes it by {change}: so much noise leads off the data."
        )
    return f"SmoothGrad does not clearly change it: by {change}."


def _methods(setting: Setting, batch: Batch) -> dict[str, Explainer]:
    found: dict[str, Explainer] = {
        "gradient": Gradient(),
        "integrated gradients": IntegratedGradients(),
        _SMOOTHED: NoiseMean(sigma=_NOISE * _range(batch)),
    }
    if batch.inputs.ndim == 4 and setting.convolutions:
        found["Grad-CAM"] = GradCAM()
    return found


def _attribute(setting: Setting, batch: Batch, method: Explainer) -> Attribution:
    return attribute(setting.model, batch.inputs, explainer=method, chunk_size=setting.chunk_size)


def _range(batch: Batch) -> float:
    return (batch.inputs.max() - batch.inputs.min()).item() or 1.0


def _share_of_a_tenth(maps: Float[Tensor, "N *map"]) -> Float[Tensor, " N"]:
    entries = maps.flatten(1).abs()
    return entries.topk(max(entries.shape[1] // 10, 1), dim=1).values.sum(dim=1) / entries.sum(dim=1)


def _exhibit(setting: Setting, batch: Batch, found: dict[str, Attribution], place: int) -> Exhibit:
    names = setting.subject.class_names
    gradient = found["gradient"]
    said = int(gradient.target[place])
    facts = {
        "label": names[int(batch.examples.labels[place])],
        "predicted": names[said] if said < len(names) else str(said),
    }
    picture = batch.picture(place)
    if picture is None:
        for name, each in found.items():
            facts[name] = _largest(each.maps[place])
        return Exhibit(f"sample {int(batch.positions[place])}", {}, facts)
    shown: dict[str, Any] = {"the sample": picture}
    for name, each in found.items():
        one = each.maps[place : place + 1]
        shown[name] = map_picture(pixel_maps(one)[0] if one.ndim == 4 else one[0])
    return Exhibit(f"sample {int(batch.positions[place])}", shown, facts)


def _largest(entries: Float[Tensor, "..."]) -> str:
    values = entries.flatten()
    places = values.abs().argsort(descending=True)[:_TOLD].tolist()
    return ", ".join(f"entry {place}: {number_text(values[place].item())}" for place in places)


def _scaled(value: Interval) -> Interval:
    return Interval(1e5 * value.value, 1e5 * value.low, 1e5 * value.high)
