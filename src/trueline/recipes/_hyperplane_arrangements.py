"""How filters lean after training, and which layers a network cannot do without, after Gamba et al. (2023)."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import ACCENT, NEUTRAL, facts_of, import_optional
from trueline.data import digits
from trueline.numerics import mean_interval
from trueline.probe import FilterBias, filter_bias, layer_criticality
from trueline.recipes._claim import Claim
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

TRAINED, BATCH, RATE, MOMENTUM = 1297, 64, 0.03, 0.9
STEPS = {"true labels": 2500, "random labels": 4000}
STATES = ("initial", *STEPS)
LAYERS = ("conv1", "conv2", "conv3", "conv4")


def hyperplane_arrangements() -> Study:
    """Digits, four convolutions: do the filters of a layer come to face the same way, and are such layers critical?

    Convolutions of 32, 64, 64 and 64 channels, 3x3 with ReLU, max-pooling by 2 after the second and the fourth, a
    linear layer. SGD at 0.03 with momentum 0.9, batches of 64 drawn with replacement, on 1,297 digits: 2,500 steps with
    the true labels, and from the same start 4,000 with labels drawn at random. The other 500 digits are the test.

    ``mass`` is the share of a layer's filters whose weights sum to at most zero, ``z`` how many standard deviations of
    a fair coin that is from one half, in absolute value, and ``mean_z`` its mean over the layers. ``drop`` is what the
    network trained on true labels loses in test accuracy when one layer is put back to its start; the ``most biased``
    layer is the one with the largest ``z``, without regard to accuracy.

    The numbers called published come from a small study of the same network and data with two seeds, one of them for
    random labels.
    """
    return Study(
        name="hyperplane-arrangements",
        summary="How one-sided the filters of a ConvNet on digits become, with true and random labels, by layer.",
        references=facts_of(filter_bias).references[:1],
        variants=(
            *STATES,
            *(f"{state}, {layer}" for state in STATES for layer in LAYERS),
            "five deviations",
            "most biased",
            "other layers",
        ),
        measure=measure,
        claims=(
            Claim(
                "Filters of the last convolution lean more than at the start", "z", "true labels", "initial", "higher"
            ),
            Claim(
                "After training they lean by more than five deviations of a fair coin",
                "z",
                "true labels",
                "five deviations",
                "higher",
                "6.1, 6.7",
            ),
            Claim(
                "Filters of the last convolution lean more when labels are random",
                "z",
                "random labels",
                "true labels",
                "higher",
                "8.0, 6.1",
            ),
            Claim(
                "The layers lean more on average when labels are random",
                "mean_z",
                "random labels",
                "true labels",
                "higher",
            ),
            Claim(
                "Putting the most biased layer back costs more accuracy than putting back the others",
                "drop",
                "most biased",
                "other layers",
                "higher",
                ".042, .020; .161, .025",
            ),
        ),
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Train the network on true and on random labels from one start, and return the scores of one seed."""
    generator = torch.Generator().manual_seed(seed)
    source = digits().train
    images, labels = torch.as_tensor(source.inputs).float(), source.labels
    train, test = torch.randperm(len(labels), generator=generator).tensor_split((TRAINED,))
    images = (images - images[train].mean()) / images[train].std()
    targets = {
        "true labels": labels[train],
        "random labels": torch.randint(10, (len(train),), generator=generator),
    }
    start = _network(seed)
    found = _leanings("initial", filter_bias(start))
    for state, given in targets.items():
        model = deepcopy(start)
        _fit(model, images[train], given, STEPS[state], generator)
        found |= _leanings(state, filter_bias(model))
        found[state]["train_accuracy"] = _accuracy(model, images[train], given)
        if state == "true labels":
            found[state]["test_accuracy"] = _accuracy(model, images[test], labels[test])
            record = layer_criticality(model, images[test], labels[test], start.state_dict(), layers=LAYERS)
            for layer in record.layers:
                found[f"{state}, {layer.name}"]["drop"] = layer.drop.value
    by_layer = [found[f"true labels, {layer}"] for layer in LAYERS]
    most = max(by_layer, key=lambda scores: scores["z"])
    others = [scores["drop"] for scores in by_layer if scores is not most]
    return found | {
        "five deviations": {"z": 5.0},
        "most biased": {"z": most["z"], "drop": most["drop"]},
        "other layers": {"drop": sum(others) / len(others)},
    }


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return a chart: the share of filters with a negative sum by layer, and what each layer is worth.

    Args:
        scores: per variant and metric, one value per seed.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of this study")
    kinds = {
        "share of filters with a sum of at most 0": (_rows(scores, "mass", STATES), alt.Scale(domain=[0, 1])),
        "test accuracy lost with the layer put back": (_rows(scores, "drop", STATES[1:2]), alt.Scale()),
    }
    palette = alt.Scale(domain=list(STATES), range=[NEUTRAL, ACCENT, "#c2703d"])
    legend = alt.Legend(title=None, orient="bottom", labelColor=NEUTRAL, symbolOpacity=1)
    charts = []
    for title, (rows, scale) in kinds.items():
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("layer:N", title=None, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("state:N", sort=list(STATES)),
            color=alt.Color("state:N", scale=palette, legend=legend),
        )
        spans = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=None, scale=scale), y2="high:Q")
        points = base.mark_point(filled=True, size=50, opacity=1).encode(y=alt.Y("mean:Q", title=None, scale=scale))
        charts.append(alt.layer(spans, points).properties(title=title, width=280, height=220))
    seeds = len(scores[STATES[0]]["z"])
    return side_by_side(charts, f"Mean and 95 % interval over {seeds} seeds.", columns=2)


def _rows(scores: Mapping[str, Mapping[str, Sequence[float]]], metric: str, states: Sequence[str]) -> list[Any]:
    rows = []
    for state in states:
        for layer in LAYERS:
            mean, low, high = mean_interval(torch.tensor(scores[f"{state}, {layer}"][metric]))
            rows.append({"state": state, "layer": layer, "mean": mean, "low": low, "high": high})
    return rows


def _network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential()
        channels = 1
        for name, width in zip(LAYERS, (32, 64, 64, 64), strict=True):
            model.add_module(name, nn.Conv2d(channels, width, kernel_size=3, padding=1))
            model.add_module(f"relu_{name}", nn.ReLU())
            if name in ("conv2", "conv4"):
                model.add_module(f"pool_{name}", nn.MaxPool2d(2))
            channels = width
        model.add_module("flatten", nn.Flatten())
        model.add_module("classifier", nn.Linear(channels * 2 * 2, 10))
    return model


def _fit(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, generator: torch.Generator) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    for _ in range(steps):
        batch = torch.randint(len(labels), (BATCH,), generator=generator)
        loss = F.cross_entropy(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    hits: Tensor = model(inputs).argmax(dim=1) == labels
    return hits.double().mean().item()


def _leanings(state: str, record: FilterBias) -> dict[str, dict[str, float]]:
    """Return the bias of each layer, and with the last layer's first that of the network."""
    layers = {layer.name: {"mass": layer.raw.mass, "z": abs(layer.raw.z)} for layer in record.layers}
    mean = sum(scores["z"] for scores in layers.values()) / len(layers)
    return {
        state: {"z": layers[LAYERS[-1]]["z"], "mean_z": mean},
        **{f"{state}, {name}": scores for name, scores in layers.items()},
    }
