"""The empirical Lipschitz constant over the width of a network, after Gamba, Azizpour and Björkman (2023)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from trueline.contracts import facts_of
from trueline.probe import distance_from_initialisation, input_jacobian_norm, lipschitz_product_bound
from trueline.recipes._claim import Claim
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import Panel, sweep_chart
from trueline.recipes._width_sweep import (
    NO_TREND,
    WIDTHS,
    NoisyImages,
    correlation,
    names,
    sweep_digits,
    with_landmarks,
)

NARROWEST, WIDEST = names(WIDTHS)[0], names(WIDTHS)[len(WIDTHS) - 1]


def double_descent_lipschitz(hidden_layers: int = 2) -> Study:
    """600 digits, 20 % of their labels wrong, networks of 4 to 256 units a layer: how much do they vary with the input?

    The networks are those of :func:`double_descent_interpolation`, and so are ``threshold``, ``below`` and ``beyond``.
    ``lipschitz`` is the mean over the training images of the spectral norm of the Jacobian of the logits, ``largest``
    its maximum, which bounds the Lipschitz constant from below, ``product`` the product of the layers' norms, which
    bounds it from above. ``distance`` is how far all parameters are from their start. ``correlation`` is Pearson's,
    between ``lipschitz`` and test error over all widths but the smallest.

    The published study has ConvNets, ResNets and vision transformers on CIFAR-10 and CIFAR-100. The numbers called
    published come from a small study on digits with one hidden layer and two seeds. With one hidden layer, five seeds
    give the same verdicts here.

    Args:
        hidden_layers: of the networks.
    """
    return Study(
        name="double-descent-lipschitz",
        summary="Test error and empirical Lipschitz constant over the width of MLPs on digits with wrong labels.",
        references=facts_of(input_jacobian_norm).references[:1],
        variants=(*names(WIDTHS), "trend", NO_TREND),
        measure=partial(measure, hidden_layers=hidden_layers),
        claims=(
            Claim(
                "C_emp peaks at the threshold: above the narrowest",
                "lipschitz",
                "threshold",
                NARROWEST,
                "higher",
                "63, 38",
            ),
            Claim(
                "C_emp at the threshold is above that of the widest",
                "lipschitz",
                "threshold",
                WIDEST,
                "higher",
                "63, 21",
            ),
            Claim(
                "The product bound peaks at the threshold: above the narrowest",
                "product",
                "threshold",
                NARROWEST,
                "higher",
                "123, 58",
            ),
            Claim(
                "The product bound at the threshold is above that of the widest",
                "product",
                "threshold",
                WIDEST,
                "higher",
                "123, 49",
            ),
            Claim("C_emp correlates with test error", "correlation", "trend", NO_TREND, "higher", ".96"),
            Claim(
                "The distance from the start peaks at the threshold: above the narrowest",
                "distance",
                "threshold",
                NARROWEST,
                "higher",
                "35, 19",
            ),
            Claim(
                "The distance at the threshold is above that of the widest",
                "distance",
                "threshold",
                WIDEST,
                "higher",
                "35, 31",
            ),
        ),
        figure=figure,
    )


def measure(seed: int, hidden_layers: int = 2) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    return scores_of(sweep_digits(seed, hidden_layers, lipschitz_scores))


def scores_of(rows: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the scores of all variants from those of the widths."""
    return with_landmarks(rows) | {
        "trend": {"correlation": correlation(rows, "lipschitz", "test_error")},
        NO_TREND: {"correlation": 0.0},
    }


def lipschitz_scores(model: nn.Module, start: nn.Module, data: NoisyImages) -> dict[str, float]:
    """Return the Jacobian's norms at the training images, the product bound and the distance from the start.

    Args:
        model: a trained network.
        start: the same before training.
        data: what it was trained on.
    """
    norms = input_jacobian_norm(model, data.inputs, chunk_size=100)
    return {
        "lipschitz": norms.mean.value,
        "largest": norms.largest,
        "product": lipschitz_product_bound(model, data.inputs[:1]).bound,
        "distance": distance_from_initialisation(model, start).distance,
    }


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: test error, Lipschitz constants and the distance from the start, over the width.

    Args:
        scores: per variant and metric, one value per seed.
    """
    bounds = {"mean on data": "lipschitz", "largest on data": "largest", "product of layers": "product"}
    panels = (
        Panel("test error", {"": "test_error"}),
        Panel("Lipschitz constant", bounds, logarithmic=True),
        Panel("distance from the start", {"": "distance"}),
    )
    return sweep_chart(scores, panels)
