"""The geometry of published CIFAR-10 networks, by every probe."""

import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, facts_of, import_optional
from trueline.measure import mean_scores
from trueline.models import Normalized
from trueline.numerics import mean_interval
from trueline.probe import (
    SVDPath,
    closed_shift_path,
    filter_bias,
    gradient_inequality,
    hessian_eigenvalues,
    hessian_trace,
    input_hessian,
    input_jacobian_norm,
    jacobian_nuclear_norm,
    layer_criticality,
    lipschitz_product_bound,
    loss_sharpness,
    neural_collapse_of,
    normalised_curvature,
    trace_path,
)
from trueline.recipes._claim import Claim
from trueline.recipes._shared_data import cifar10_test, trained_resnet
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

DEPTHS = (20, 56)
PARTS, IMAGES = 5, 1000  # parts of the test images, and images in each
SAMPLED, GROUP = 32, 24  # images for what is asked of each image, and of each kind of prediction
BENT, TRACED, COLLAPSED, CURVED, REPLACED = 8, 2, 500, 100, 100
SHRUNK = 1 / 2048  # of the closed path of shifts by one pixel
PRODUCTS, PROBES, DRAWS = 8, 4, 2
LAYERS = {"first": "model.conv1", "middle": "model.layer2.0.conv1", "last": "model.layer3.{}.conv2"}
KINDS = ("", "/at the image", "/singular values", "/right", "/wrong")
CHANCE = "one in a thousand"


def geometry_cifar10_resnets(folder: Path | None = None) -> Study:
    """ResNet-20 and ResNet-56 with published weights on CIFAR-10, measured by every probe at test images in [0, 1].

    Of a network: ``lipschitz`` and ``largest_jacobian`` are the mean and the largest spectral norm of the Jacobian of
    the logits, ``nuclear`` the mean sum of its singular values, ``stable_rank`` the mean stable rank, and ``bound`` the
    product bound on the Lipschitz constant. ``sharpness`` is the mean gradient of the loss along shifts by up to 4
    pixels; of ``/singular values`` that along images which lose up to 25 singular values, and of ``/at the image`` that
    at the images themselves. ``curvature`` is the median normalised curvature, ``input_hessian`` the mean largest
    eigenvalue in the input.

    ``crossings`` and ``deviation`` are boundaries of linear regions, and distance from the chord a logit, per unit of
    length on a closed path around the image: that of shifts by one pixel in eight directions, shrunk to 1/2048 of its
    size, since the whole path crosses hundreds of thousands of boundaries. ``loss_hessian`` and ``loss_trace``
    are the largest eigenvalue and the trace of the Hessian in the weights. ``raw_log10_p`` and ``folded_log10_p`` are
    of the hypothesis that the signs of all filters are fair coins, without and with the batch norm's sign, and
    ``raw_mass`` and ``folded_mass`` the shares of negative ones. ``drop_first`` and so on are accuracies lost with one
    layer drawn anew; ``nc1`` to ``nc4`` are measures of neural collapse of 500 images. ``slack`` is the geometric
    mean of the two sides of the gradient inequality of the first layer, as a ratio, and ``violations`` the share of
    images where it is false, which is none.

    ``/right`` and ``/wrong`` are 24 images each that the network predicts rightly and wrongly, with their true labels:
    where a prediction is wrong the loss is large, and so is its gradient; the Jacobian of the logits knows no label.

    Nothing is random but the layers drawn anew and the starts of iterations: a "seed" is one of five disjoint parts of
    1,000 test images, in their original order, of which each probe takes the first ones. The interval is over parts;
    the product bound and the filters are the same in all.

    Args:
        folder: holds ``models`` and ``cifar10``; by default what ``TRUELINE_DATA`` names.
    """
    claims = []
    for depth in DEPTHS:
        name = f"resnet{depth}"
        at, singular, right, wrong = (name + kind for kind in KINDS[1:])
        claims += [
            Claim(f"ResNet-{depth}: logits are more sensitive at wrong images", "lipschitz", wrong, right, "higher"),
            Claim(f"ResNet-{depth}: the loss around wrong images is sharper", "sharpness", wrong, right, "higher"),
            Claim(f"ResNet-{depth}: it is sharper along shifts than at the image", "sharpness", name, at, "higher"),
            Claim(f"ResNet-{depth}: and sharper without singular values", "sharpness", singular, at, "higher"),
            Claim(f"ResNet-{depth}: filters lean one way, as they are", "raw_log10_p", name, CHANCE, "lower"),
            Claim(f"ResNet-{depth}: and with the batch norm's sign", "folded_log10_p", name, CHANCE, "lower"),
        ]
    shallow, deep = (f"resnet{depth}" for depth in DEPTHS)
    claims += [
        Claim("The deeper network's logits are less sensitive", "lipschitz", deep, shallow, "lower"),
        Claim("Its loss is less sharp along shifts", "sharpness", deep, shallow, "lower"),
        Claim("It has more linear regions per unit of length", "crossings", deep, shallow, "higher"),
        Claim("It deviates less from its chords", "deviation", deep, shallow, "lower"),
        Claim("The Hessian of its loss has the smaller trace", "loss_trace", deep, shallow, "lower"),
        Claim("Its features are nearer to collapse", "nc1", deep, shallow, "lower"),
    ]
    sources = (input_jacobian_norm, loss_sharpness, trace_path, filter_bias, neural_collapse_of)
    return Study(
        name="geometry-cifar10-resnets",
        summary="Published CIFAR-10 ResNets by every probe: sensitivity, sharpness, linear regions, filters, collapse.",
        references=tuple(facts_of(source).references[0] for source in sources),
        variants=(*(f"resnet{depth}{kind}" for depth in DEPTHS for kind in KINDS), CHANCE),
        measure=partial(measure, folder),
        claims=tuple(claims),
        seeds=PARTS,
        figure=figure,
    )


def measure(folder: Path | None, part: int) -> dict[str, dict[str, float]]:
    """Return the scores of both networks on one part of the test images."""
    if part >= PARTS:
        raise ValueError(
            f"geometry-cifar10-resnets has {PARTS} parts of the test images; ask for at most {PARTS} seeds"
        )
    images, labels = (each[part * IMAGES : (part + 1) * IMAGES].contiguous() for each in cifar10_test(folder))
    found = {CHANCE: dict.fromkeys(("raw_log10_p", "folded_log10_p"), -3.0)}
    for depth in DEPTHS:
        model = _network(folder, depth)
        with torch.inference_mode():
            logits = torch.cat([model(batch) for batch in torch.split(images, 100)])
        scores = {name: mean_scores(labels, logits=logits)[name] for name in ("accuracy", "log_loss")}
        scores |= _weights(folder, depth) | _sensitivity(model, images) | _curvature(model, images, labels)
        scores |= _pieces(model, images) | _structure(model, images, labels, depth)
        few = images[:SAMPLED], labels[:SAMPLED]
        shifts, singular = loss_sharpness(model, *few), loss_sharpness(model, *few, path=SVDPath())
        name = f"resnet{depth}"
        found[name] = scores | {"sharpness": shifts.mean.value}
        found[f"{name}/at the image"] = {"sharpness": shifts.mean_at_sample.value}
        found[f"{name}/singular values"] = {"sharpness": singular.mean.value}
        hit = logits.argmax(dim=1) == labels
        found[f"{name}/right"] = _around(model, images[hit], labels[hit])
        found[f"{name}/wrong"] = _around(model, images[~hit], labels[~hit])
    return found


def _network(folder: Path | None, depth: int) -> Normalized:
    """Return a network whose channels are not last: pooling those ends in a view without a rule for its slope."""
    with torch.random.fork_rng(devices=[]):  # it draws a start before the weights are read
        model = trained_resnet(depth, folder)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing from torch's stubs
    return model


@cache
def _weights(folder: Path | None, depth: int) -> dict[str, float]:
    """Return what depends on the weights alone, the same for all parts."""
    model, example = _network(folder, depth), cifar10_test(folder)[0][:1].contiguous()
    bias = filter_bias(model, example=example)
    assert bias.folded is not None, "no batch norm is silent"
    return {
        "bound": lipschitz_product_bound(model, example).bound,
        "raw_log10_p": _log10(bias.raw.p_value),
        "folded_log10_p": _log10(bias.folded.p_value),
        "raw_mass": bias.raw.mass,
        "folded_mass": bias.folded.mass,
    }


def _log10(p_value: float) -> float:
    return math.log10(max(p_value, 1e-300))


def _around(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Return what is compared between images that are predicted rightly and wrongly."""
    sharpness = loss_sharpness(model, images[:GROUP], labels[:GROUP])
    return {
        "lipschitz": input_jacobian_norm(model, images[:GROUP]).mean.value,
        "sharpness": sharpness.mean.value,
        "sharpness_at_image": sharpness.mean_at_sample.value,
    }


def _sensitivity(model: nn.Module, images: Tensor) -> dict[str, float]:
    norms = input_jacobian_norm(model, images[:SAMPLED])
    nuclear = jacobian_nuclear_norm(model, images[:SAMPLED])
    return {
        "lipschitz": norms.mean.value,
        "largest_jacobian": norms.largest,
        "nuclear": nuclear.mean.value,
        "stable_rank": nuclear.stable_rank.mean().item(),
    }


def _curvature(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    few, many = (images[:BENT], labels[:BENT]), (images[:CURVED], labels[:CURVED])
    return {
        "curvature": normalised_curvature(model, *few).curvature.median().item(),
        "input_hessian": input_hessian(model, *few, iterations=PRODUCTS, probes=1).largest.mean().item(),
        "loss_hessian": hessian_eigenvalues(model, *many, iterations=PRODUCTS, chunk_size=CURVED // 2).values[0].item(),
        "loss_trace": hessian_trace(model, *many, probes=PROBES, chunk_size=CURVED // 2).trace,
    }


def _pieces(model: nn.Module, images: Tensor) -> dict[str, float]:
    centre = images[:TRACED, None]
    found = trace_path(model, torch.lerp(centre, closed_shift_path(images[:TRACED], radius=1), SHRUNK))
    deviation = (found.absolute_deviation.mean(dim=1) / found.length).mean().item()
    return {
        "crossings": found.density.mean().item(),
        "deviation": deviation,
        "similarity": found.similarity.mean().item(),
    }


def _structure(model: Normalized, images: Tensor, labels: Tensor, depth: int) -> dict[str, float]:
    collapse = neural_collapse_of(model, images[:COLLAPSED], labels[:COLLAPSED], chunk_size=100)
    assert collapse.nc3 is not None, "the head is found"
    assert collapse.nc4 is not None, "the head is found"
    names = {place: name.format((depth - 2) // 6 - 1) for place, name in LAYERS.items()}
    replaced = images[:REPLACED], labels[:REPLACED]
    critical = layer_criticality(model, *replaced, "random", layers=tuple(names.values()), draws=DRAWS, chunk_size=100)
    drops = {layer.name: layer.drop.value for layer in critical.layers}
    # The first layer must see its input itself: what comes before it is done by hand.
    shape = (-1, 1, 1)
    normalised = (images[:GROUP] - model.mean.view(shape)) / model.std.view(shape)
    sides = gradient_inequality(model.model, normalised, labels[:GROUP])
    return {
        "nc1": collapse.nc1,
        "nc2": collapse.means.etf_distance,
        "nc3": collapse.nc3,
        "nc4": collapse.nc4,
        **{f"drop_{place}": drops[name] for place, name in names.items()},
        "slack": (sides.logits_first / sides.logits_lower).log().mean().exp().item(),
        "violations": (sides.logits_lower > sides.logits_first).double().mean().item(),
    }


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: what is compared between the networks, and between right and wrong images.

    Args:
        scores: per variant and metric, one value per part.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of a study")
    whole = {f"ResNet-{depth}": f"resnet{depth}" for depth in DEPTHS}
    groups = {f"ResNet-{depth}, {kind[1:]}": f"resnet{depth}{kind}" for depth in DEPTHS for kind in KINDS[-2:]}
    paths = {
        f"ResNet-{depth}, {words}": f"resnet{depth}{kind}"
        for depth in DEPTHS
        for words, kind in zip(("shifts", "at image", "fewer s.v."), KINDS, strict=False)
    }
    panels = {
        "norm of the Jacobian of the logits": (groups, "lipschitz"),
        "sharpness of the loss along shifts": (groups, "sharpness"),
        "sharpness of the loss, by path": (paths, "sharpness"),
        "boundaries of regions per unit of length": (whole, "crossings"),
        "spread within classes (NC1)": (whole, "nc1"),
        "trace of the Hessian of the loss": (whole, "loss_trace"),
    }
    charts = []
    for title, (rows, metric) in panels.items():
        values = []
        for label, variant in rows.items():
            found = scores[variant][metric]
            mean, low, high = mean_interval(torch.tensor(found))
            values.append({"of": label, "mean": mean, "low": low, "high": high, "parts": list(found)})
        base = alt.Chart(alt.Data(values=values)).encode(
            y=alt.Y("of:N", title=None, sort=list(rows), axis=alt.Axis(labelLimit=200, grid=False))
        )
        x = {"title": None, "scale": alt.Scale(zero=True), "axis": alt.Axis(tickCount=4)}
        dots = base.transform_flatten(["parts"]).mark_point(size=12, color=NEUTRAL, opacity=0.6, filled=True)
        spans = base.mark_rule(strokeWidth=2, color=ACCENT).encode(x=alt.X("low:Q", **x), x2="high:Q")
        points = base.mark_point(filled=True, size=45, opacity=1, color=ACCENT).encode(x=alt.X("mean:Q", **x))
        drawn = alt.layer(dots.encode(x=alt.X("parts:Q", **x)), spans, points)
        charts.append(drawn.properties(title=title, width=230, height=24 * len(rows)))
    parts = len(scores["resnet20"]["lipschitz"])
    words = f"Mean and 95 % interval over {parts} parts of the test images; small dots are the parts."
    return side_by_side(charts, words, columns=2)
