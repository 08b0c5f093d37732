"""Linear regions and absolute deviation over the width of a network, after Gamba et al. (2022)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from trueline.contracts import facts_of
from trueline.probe import closed_shift_path, trace_path
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
    with_landmarks,
)

NARROWEST, WIDEST = names(WIDTHS)[0], names(WIDTHS)[len(WIDTHS) - 1]
DOUBLINGS = (4, 8, 16, 32, 64, 128, 256)
PATHS, RADIUS = 100, 2


def double_descent_regions(hidden_layers: int = 2) -> Study:
    """600 digits, 20 % of their labels wrong, networks of 4 to 256 units a layer: regions rise, non-linearity peaks.

    The networks are those of :func:`double_descent_interpolation`, and so are ``threshold``, ``below`` and ``beyond``.
    Each of 100 training images is shifted by 2 pixels in eight directions, a closed path of eight segments, on which
    all boundaries of linear regions are found exactly. ``crossings`` counts them per unit of length, ``deviation`` is
    the absolute deviation from the chord per unit of length and logit, ``similarity`` the mean cosine of the slopes of
    neighbouring regions. ``smallest_step`` is the smallest rise of the logarithm of the crossings between neighbouring
    widths, positive if they rise everywhere, and ``smallest_doubling`` the smallest between a width and its double.

    The published study has VGG and ResNets on CIFAR-10 and CIFAR-100. The numbers called published come from a
    small study of the same kind on digits with one seed. With one hidden layer, five seeds show the crossings rise with
    every step, but the deviation fall and the test error peak by less than the noise.

    Args:
        hidden_layers: of the networks.
    """
    return Study(
        name="double-descent-regions",
        summary="Density of linear regions and absolute deviation over the width of MLPs on digits with wrong labels.",
        references=facts_of(trace_path).references[:1],
        variants=(*names(WIDTHS), "trend", NO_TREND),
        measure=partial(measure, hidden_layers=hidden_layers),
        claims=(
            Claim("Crossings rise with every step in width", "smallest_step", "trend", NO_TREND, "higher"),
            Claim(
                "Crossings rise with every doubling of the width",
                "smallest_doubling",
                "trend",
                NO_TREND,
                "higher",
                "0.33 to 17.8 from 4 to 256",
            ),
            Claim(
                "The deviation peaks at the threshold: above the narrowest",
                "deviation",
                "threshold",
                NARROWEST,
                "higher",
                "3.8, 0.74",
            ),
            Claim(
                "The deviation at the threshold is above that of the widest",
                "deviation",
                "threshold",
                WIDEST,
                "higher",
                "3.8, 1.4",
            ),
            Claim(
                "Neighbouring regions are more alike in the widest network", "similarity", WIDEST, "threshold", "higher"
            ),
            Claim(
                "Test error at the threshold is above the best below",
                "test_error",
                "threshold",
                "below",
                "higher",
                ".328, .286",
            ),
            Claim(
                "Test error falls again beyond the threshold",
                "test_error",
                "threshold",
                "beyond",
                "higher",
                ".328, .180",
            ),
        ),
        figure=figure,
    )


def measure(seed: int, hidden_layers: int = 2) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    return scores_of(sweep_digits(seed, hidden_layers, lambda model, start, data: region_scores(model, data)))


def scores_of(rows: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the scores of all variants from those of the widths."""
    return with_landmarks(rows) | {
        "trend": {
            "smallest_step": min(log_steps(rows, "crossings")),
            "smallest_doubling": min(log_steps({width: rows[width] for width in DOUBLINGS}, "crossings")),
        },
        NO_TREND: {"smallest_step": 0.0, "smallest_doubling": 0.0},
    }


def region_scores(model: nn.Module, data: NoisyImages) -> dict[str, float]:
    """Return crossings, deviation and similarity of neighbouring regions on closed paths of shifted training images.

    Args:
        model: a trained network that is piecewise linear.
        data: what it was trained on.
    """
    found = trace_path(model, closed_shift_path(data.inputs[:PATHS], radius=RADIUS))
    return {
        "crossings": found.mean_density.value,
        "deviation": found.mean_deviation.value,
        "similarity": found.similarity.mean().item(),
    }


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: test error, crossings, deviation and similarity, over the width.

    Args:
        scores: per variant and metric, one value per seed.
    """
    panels = (
        Panel("test error", {"": "test_error"}),
        Panel("boundaries per unit of length", {"": "crossings"}, logarithmic=True),
        Panel("absolute deviation per unit of length", {"": "deviation"}),
        Panel("cosine of neighbouring slopes", {"": "similarity"}),
    )
    return sweep_chart(scores, panels)
