"""Sharpness of the loss around training samples over the width of a network, after Gamba et al. (2023)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from trueline.contracts import facts_of
from trueline.probe import ShiftPath, loss_sharpness
from trueline.recipes._claim import Claim
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import Panel, sweep_chart
from trueline.recipes._width_sweep import (
    NO_TREND,
    WIDTHS,
    NoisyImages,
    log_steps,
    names,
    sweep_digits,
    threshold,
    with_landmarks,
)

NARROWEST, WIDEST = names(WIDTHS)[0], names(WIDTHS)[len(WIDTHS) - 1]
RIGHT, WRONG = "right labels", "wrong labels"
PATH = ShiftPath(radii=(1, 2), directions=4)


def double_descent_interpolation(hidden_layers: int = 2) -> Study:
    """600 digits, 20 % of their labels wrong, networks of 4 to 256 units a layer: where does the loss bend sharply?

    MLPs with ReLU, 4,000 steps of Adam at 3e-3, batches of 128 drawn with replacement, on pixels with mean 0 and
    standard deviation 1. Of the other digits 397 choose widths and 800 are the test; both have true labels. Of a seed,
    all widths have the same data and batches.

    ``threshold`` is the smallest width that fits 99 % of the given labels, which no test score enters; ``below`` and
    ``beyond`` are the best of the smaller and of the larger widths, by the error on the 397. ``sharpness`` is the norm
    of the loss's gradient, integrated over the images shifted by 1 and 2 pixels in four directions; ``gradient`` is
    the same at the training images themselves. Both are means over the training images, with the given labels.
    ``peak`` is the sharpness at the threshold minus that of the widest network, ``largest_step`` the largest rise of
    the logarithm of the gradient between neighbouring widths from the threshold on: negative if it falls everywhere.

    The published study has ConvNets and ResNets on CIFAR-10 and CIFAR-100. The numbers called published come from a
    small study on digits with one hidden layer and two seeds. With one hidden layer, five seeds give the same verdicts
    here, but for the first: the test error at the threshold is above the best below by less than the noise.

    Args:
        hidden_layers: of the networks.
    """
    return Study(
        name="double-descent-interpolation",
        summary="Test error and sharpness of the loss in the input over the width of MLPs on digits with wrong labels.",
        references=facts_of(loss_sharpness).references[:1],
        variants=(*names(WIDTHS), RIGHT, WRONG, "trend", NO_TREND),
        measure=partial(measure, hidden_layers=hidden_layers),
        claims=(
            Claim(
                "Test error at the threshold is above the best below",
                "test_error",
                "threshold",
                "below",
                "higher",
                ".302, .245",
            ),
            Claim(
                "Test error falls again beyond the threshold",
                "test_error",
                "threshold",
                "beyond",
                "higher",
                ".302, .176",
            ),
            Claim(
                "Sharpness along paths peaks at the threshold: above the narrowest",
                "sharpness",
                "threshold",
                NARROWEST,
                "higher",
                "25, 11",
            ),
            Claim(
                "Sharpness along paths at the threshold is above that of the widest",
                "sharpness",
                "threshold",
                WIDEST,
                "higher",
                "25, 9.4",
            ),
            Claim(
                "The gradient at the training images falls at every step beyond",
                "largest_step",
                "trend",
                NO_TREND,
                "lower",
            ),
            Claim(
                "At the threshold, the loss is sharper around wrong labels",
                "sharpness",
                WRONG,
                RIGHT,
                "higher",
                "28, 24",
            ),
            Claim("The peak of the sharpness is higher around wrong labels", "peak", WRONG, RIGHT, "higher", "17, 15"),
        ),
        figure=figure,
    )


def measure(seed: int, hidden_layers: int = 2) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    return scores_of(sweep_digits(seed, hidden_layers, lambda model, start, data: sharpness_scores(model, data)))


def scores_of(rows: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the scores of all variants from those of the widths."""
    found = with_landmarks(rows)
    kinds = {RIGHT: "sharpness_right", WRONG: "sharpness_wrong"}
    for name, metric in kinds.items():
        peak = found["threshold"][metric]
        found[name] = {"sharpness": peak, "peak": peak - found[WIDEST][metric]}
    return found | {
        "trend": {"largest_step": max(log_steps(rows, "gradient", start=threshold(rows)), default=0.0)},
        NO_TREND: {"largest_step": 0.0},
    }


def sharpness_scores(model: nn.Module, data: NoisyImages, count: int | None = None) -> dict[str, float]:
    """Return the mean norm of the loss's gradient along paths and at training images, by whether labels are wrong.

    Args:
        model: a trained network.
        data: what it was trained on.
        count: of the images that are probed; all by default.
    """
    found = loss_sharpness(model, data.inputs[:count], data.given[:count], path=PATH, true_labels=data.truth[:count])
    noisy = data.given[:count] != data.truth[:count]
    kinds = {"sharpness": found.integrated, "gradient": found.at_sample}
    scores: dict[str, float] = {}
    for name, values in kinds.items():
        groups = {name: values, f"{name}_right": values[~noisy], f"{name}_wrong": values[noisy]}
        scores |= {group: part.mean().item() for group, part in groups.items()}
    return scores


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: test error, sharpness along paths, and the gradient at the training images, over the width.

    Args:
        scores: per variant and metric, one value per seed.
    """
    kinds = ("all labels", RIGHT, WRONG)
    panels = (
        Panel("test error", {"all labels": "test_error"}),
        Panel(
            "gradient of the loss along paths",
            dict(zip(kinds, ("sharpness", "sharpness_right", "sharpness_wrong"), strict=True)),
        ),
        Panel(
            "gradient at the training images",
            dict(zip(kinds, ("gradient", "gradient_right", "gradient_wrong"), strict=True)),
            logarithmic=True,
        ),
    )
    return sweep_chart(scores, panels)
