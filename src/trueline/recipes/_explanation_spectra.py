"""Networks of growing sharpness, trained to one accuracy, and the spectra of their explanations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, ClassValue, Explainer, import_optional
from trueline.explain import (
    GradCAM,
    Gradient,
    GuidedGradCAM,
    IntegratedGradients,
    NoiseMean,
    attribute,
    expected_frequency,
    normalised_expected_frequency,
    rank_correlation,
)
from trueline.numerics import mean_interval
from trueline.recipes._claim import Claim
from trueline.recipes._sweep_chart import side_by_side
from trueline.train import RunConfig, load_model, train, with_values

EXPLANATIONS = ("gradient", "smoothgrad", "integrated gradients", "guided grad-cam", "grad-cam")
NO_TREND = "no trend"
DRAWS, DEVIATION, NODES, CHUNK = 64, 0.1, 16, 50
_OF: ClassValue = "log_probability"


def network_name(sharpness: float | None) -> str:
    """Return what a network of a sharpness is called; None is ReLU."""
    return "relu" if sharpness is None else f"softplus {sharpness:g}"


def variants(sharpnesses: Sequence[float | None]) -> tuple[str, ...]:
    """Return the names of all variants of a study: networks, each with every explanation, and the trend."""
    networks = [network_name(sharpness) for sharpness in sharpnesses]
    return (*networks, *(f"{network}, {name}" for network in networks for name in EXPLANATIONS), "trend", NO_TREND)


def claims(smoothest: float) -> tuple[Claim, ...]:
    """Return what both studies test; the numbers called published are for Imagenette, with β = 0.9 as the smoothest."""
    smooth = network_name(smoothest)

    def lower(statement: str, metric: str, variant: str, baseline: str, published: str = "") -> Claim:
        return Claim(statement, metric, variant, baseline, "lower", published)

    return (
        Claim("The gradient's frequency rises with the sharpness", "spearman", "trend", NO_TREND, "higher", "monotone"),
        lower(
            "The smoothest network's gradient has a lower frequency than that of ReLU",
            "frequency",
            f"{smooth}, gradient",
            "relu, gradient",
            ".202, .390",
        ),
        lower(
            "With ReLU, SmoothGrad has a lower frequency than the gradient: a gap",
            "frequency",
            "relu, smoothgrad",
            "relu, gradient",
            ".286, .390",
        ),
        lower(
            "With ReLU, Guided Grad-CAM has a lower frequency than the gradient: a gap",
            "frequency",
            "relu, guided grad-cam",
            "relu, gradient",
            ".293, .390",
        ),
        lower(
            "With ReLU, Grad-CAM has a lower frequency than the gradient: a gap",
            "frequency",
            "relu, grad-cam",
            "relu, gradient",
        ),
        lower(
            "SmoothGrad's gap is smaller in the smoothest network than with ReLU",
            "gap",
            f"{smooth}, smoothgrad",
            "relu, smoothgrad",
            ".005, .104",
        ),
        lower(
            "Without a gap, the smoothest network's gradient has a lower frequency than SmoothGrad with ReLU",
            "frequency",
            f"{smooth}, gradient",
            "relu, smoothgrad",
            ".202, .286",
        ),
        Claim(
            "The smoothest network's accuracy is within two points of ReLU's",
            "accuracy",
            smooth,
            "relu",
            "higher",
            "matched",
            margin=0.02,
        ),
    )


def measure_spectra(
    config: RunConfig, sharpnesses: Sequence[float | None], images: Tensor, *, explained: int
) -> dict[str, dict[str, float]]:
    """Train a network of each sharpness until it is accurate enough, and return the spectra of its explanations.

    Args:
        config: the run, which stops at an accuracy; the model must be a ``ConvNet``.
        sharpnesses: b of the softplus in the place of ReLU, rising, None for ReLU in the end.
        images: all images that the test split is taken from, in units of the scaled inputs.
        explained: how many images of the test split are explained, the first.

    Returns:
        The scores of all variants.
    """
    found: dict[str, dict[str, float]] = {}
    for sharpness in sharpnesses:
        options = {} if sharpness is None else {"model.softplus": sharpness}
        network, scores, inputs = _trained(with_values(config, options), images, explained)
        name = network_name(sharpness)
        found[name] = scores
        layer = f"body.{'relu' if sharpness is None else 'softplus'}4"
        spectra = _spectra(network, inputs, _explainers(layer))
        found |= {f"{name}, {explanation}": scores for explanation, scores in spectra.items()}
    gradients = [found[f"{network_name(sharpness)}, gradient"] for sharpness in sharpnesses]
    trend = {
        name: _spearman([scores[metric] for scores in gradients])
        for name, metric in {"spearman": "frequency", "normalised_spearman": "normalised_frequency"}.items()
    }
    return found | {"trend": trend, NO_TREND: dict.fromkeys(trend, 0.0)}


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return a chart: frequency and gap of each explanation over the sharpness of the network.

    Args:
        scores: per variant and metric, one value per seed.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of this study")
    networks = [name for name in scores if "accuracy" in scores[name]]
    palette = alt.Scale(domain=list(EXPLANATIONS), range=[NEUTRAL, ACCENT, "#3f9a5f", "#c2703d", "#8e6bbf"])
    legend = alt.Legend(title=None, orient="bottom", labelColor=NEUTRAL, columns=3, symbolOpacity=1)
    charts = []
    for metric, title in {"frequency": "expected frequency (white noise: 1)", "gap": "gap to the gradient"}.items():
        rows = [
            _row(network.removeprefix("softplus "), name, scores[f"{network}, {name}"][metric])
            for network in networks
            for name in EXPLANATIONS
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("network:N", title="sharpness", sort=[row["network"] for row in rows], axis=alt.Axis(labelAngle=0)),
            color=alt.Color("explanation:N", scale=palette, legend=legend),
        )
        spans = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
        tooltip = ["explanation:N", *(alt.Tooltip(f"{field}:Q", format=".4g") for field in ("mean", "low", "high"))]
        line = base.mark_line(strokeWidth=2, point=True).encode(y=alt.Y("mean:Q", title=None), tooltip=tooltip)
        charts.append(alt.layer(spans, line).properties(title=title, width=300, height=240))
    seeds = len(scores[networks[0]]["accuracy"])
    words = f"Networks of one validation accuracy. Mean and 95 % interval over {seeds} seeds."
    return side_by_side(charts, words, columns=2)


def _trained(config: RunConfig, images: Tensor, explained: int) -> tuple[nn.Module, dict[str, float], Tensor]:
    """Return the trained network, how it went, and the normalised images to explain."""
    with TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run", progress=False)
        last, test, facts = run.metrics()[-1], run.predictions("test"), run.environment()["normalisation"]
        with torch.random.fork_rng(devices=[]):  # its weights are drawn before they are read
            network = load_model(run)
    assert test is not None, "the test split is not empty"
    mean, std = (torch.tensor(facts[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    scores = {
        "accuracy": last["test"]["accuracy"],
        "validation_accuracy": last["validation"]["accuracy"],
        "epochs": float(last["epoch"]),
        "reached": float(last["ended"] == "stop_at_accuracy"),
    }
    return network, scores, (images[test.index[:explained]] - mean) / std


def _explainers(layer: str) -> dict[str, Explainer]:
    return dict(
        zip(
            EXPLANATIONS,
            (
                Gradient(_OF),
                NoiseMean(Gradient(_OF), sigma=DEVIATION, samples=DRAWS),
                IntegratedGradients(_OF, steps=NODES),
                GuidedGradCAM(layer, _OF),
                GradCAM(layer, _OF),
            ),
            strict=True,
        )
    )


def _spectra(network: nn.Module, inputs: Tensor, explainers: Mapping[str, Explainer]) -> dict[str, dict[str, float]]:
    """Return frequencies as multiples of that of white noise, 1 / (6n) for n pixels."""
    unit = 1 / (6 * math.prod(inputs.shape[-2:]))
    found: dict[str, dict[str, float]] = {}
    gradient = None
    for name, explainer in explainers.items():
        maps = attribute(network, inputs, explainer=explainer, chunk_size=CHUNK).maps
        record = expected_frequency(maps)
        gradient = record.frequency if gradient is None else gradient
        difference = record.frequency - gradient
        found[name] = {
            "frequency": record.mean.value / unit,
            "gap": difference.mean().abs().item() / unit,
            "gap_by_image": difference.abs().mean().item() / unit,
            "normalised_frequency": normalised_expected_frequency(maps).mean.value,
            "flat": record.flat / len(maps),
        }
    return found


def _spearman(values: Sequence[float]) -> float:
    """Return the rank correlation of values with their places."""
    pairs = torch.tensor([range(len(values)), values], dtype=torch.float64)
    return rank_correlation(pairs[:1], pairs[1:]).item()


def _row(network: str, explanation: str, values: Sequence[float]) -> dict[str, Any]:
    mean, low, high = mean_interval(torch.tensor(values))
    return {
        "network": network.replace("relu", "ReLU"),
        "explanation": explanation,
        "mean": mean,
        "low": low,
        "high": high,
    }
