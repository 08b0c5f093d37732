"""Double descent over the time in training, after Gamba et al. (2023)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trueline.contracts import facts_of
from trueline.probe import input_jacobian_norm, loss_sharpness
from trueline.recipes._claim import Claim
from trueline.recipes._double_descent_interpolation import sharpness_scores
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import Panel, sweep_chart
from trueline.recipes._width_sweep import BATCH, RATE, errors, fit, mlp, names, noisy_digits, with_landmarks

HIDDEN_LAYERS = 2
SEEN = (10, 20, 40, 70, 100, 140, 200, 280, 400, 560, 800, 1130, 1600, 2800, 5600, 8000)  # steps


def double_descent_epochs(width: int = 64) -> Study:
    """600 digits, 20 % of their labels wrong, one network: is there a second descent in time?

    The data, the network with two hidden layers and its training are those of :func:`double_descent_interpolation`,
    here for 8,000 steps, 1,700 passes over the data. ``threshold`` is the first look after which 99 % of the given
    labels are fitted; ``below`` and ``beyond`` are the best of the earlier and of the later looks, by the error on the
    397 digits that choose. ``sharpness`` is as there, ``lipschitz`` as in :func:`double_descent_lipschitz`.

    The published study has ConvNets and ResNets on CIFAR-10 and CIFAR-100, and gives figures. Widths of 16 and 256,
    and a rate of 3e-4, were tried with three seeds each: the error always ends above that at the threshold.

    Args:
        width: units in each of the two hidden layers.
    """
    last = f"step {SEEN[-1]}"
    return Study(
        name="double-descent-epochs",
        summary="Test error, sharpness and Lipschitz constant of an MLP on digits with wrong labels, over training.",
        references=(facts_of(loss_sharpness).references[0], facts_of(input_jacobian_norm).references[0]),
        variants=names(SEEN, "step"),
        measure=partial(measure, width=width),
        claims=(
            Claim(
                "Test error when all labels are fitted is above the best before",
                "test_error",
                "threshold",
                "below",
                "higher",
            ),
            Claim("Test error falls again with more training", "test_error", "threshold", "beyond", "higher"),
            Claim("Sharpness along paths is lower at the end", "sharpness", "threshold", last, "higher"),
            Claim("C_emp is lower at the end", "lipschitz", "threshold", last, "higher"),
            Claim("The gradient at the training images is lower at the end", "gradient", "threshold", last, "higher"),
        ),
        figure=figure,
    )


def measure(seed: int, width: int = 64) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    data, model, rows = noisy_digits(seed), mlp(width, HIDDEN_LAYERS, seed), {}
    for step in fit(model, data, learning_rate=RATE, steps=SEEN[-1], batch_size=BATCH, seed=seed):
        if step in SEEN:
            norms = input_jacobian_norm(model, data.inputs, chunk_size=100)
            rows[step] = {**errors(model, data), **sharpness_scores(model, data), "lipschitz": norms.mean.value}
    return with_landmarks(rows, "step")


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: test error, sharpness, Lipschitz constant and gradient, over the steps of training.

    Args:
        scores: per variant and metric, one value per seed.
    """
    panels = (
        Panel("test error", {"": "test_error"}),
        Panel("gradient of the loss along paths", {"": "sharpness"}),
        Panel("Lipschitz constant on data", {"": "lipschitz"}),
        Panel("gradient at the training images", {"": "gradient"}, logarithmic=True),
    )
    return sweep_chart(scores, panels, what="step")
