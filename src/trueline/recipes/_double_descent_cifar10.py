"""Double descent of a convolutional network on CIFAR-10 with wrong labels, after three papers of Gamba et al."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import facts_of
from trueline.data import Examples, cifar10, symmetric_noise
from trueline.models import ConvNet
from trueline.probe import (
    closed_shift_path,
    deviation_by_quadrature,
    input_jacobian_norm,
    loss_sharpness,
    trace_path,
)
from trueline.recipes._claim import Claim
from trueline.recipes._double_descent_interpolation import sharpness_scores
from trueline.recipes._shared_data import shared_folder
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import Panel, sweep_chart
from trueline.recipes._width_sweep import (
    NO_TREND,
    NOISE,
    NoisyImages,
    correlation,
    errors,
    fit,
    log_steps,
    names,
    threshold,
    with_landmarks,
)

WIDTHS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24)
TRAINED, CHOOSING, REPORTED = 1000, 500, 1000
RATE, STEPS, BATCH = 1e-3, 3000, 64
PROBED, PATHS, RADIUS, POINTS = 500, 20, 2, 129
NARROWEST, WIDEST = f"width {WIDTHS[0]}", f"width {WIDTHS[-1]}"


def double_descent_cifar10(folder: Path | None = None) -> Study:
    """1,000 CIFAR-10 images, 20 % of their labels wrong, the five-layer ConvNet of width 1 to 24: is there a peak?

    Images of the first training shard, averaged over 2x2 pixels to 16x16, their mean 0 and standard deviation 1.
    ``ConvNet`` without batch norm, 3,000 steps of Adam at 1e-3, batches of 64 drawn with replacement, no augmentation
    or weight decay. 500 test images choose widths and 1,000 others are the test. Of a seed, all widths have the same
    data and batches.

    ``threshold``, ``below``, ``beyond``, ``sharpness``, ``gradient`` and ``largest_step`` are as in
    :func:`double_descent_interpolation`, ``lipschitz`` and ``correlation`` as in :func:`double_descent_lipschitz`; the
    probes see 500 training images. ``deviation`` is the absolute deviation per unit of length and logit on the closed
    paths of :func:`double_descent_regions`, by quadrature with 129 points a segment, for 20 training images.

    The published studies train on 49,000 images of 32x32 with augmentation, and give figures.

    Args:
        folder: with the shards in ``cifar10``; None for what the environment variable ``TRUELINE_DATA`` names.
    """
    return Study(
        name="double-descent-cifar10",
        summary="Test error, sharpness, Lipschitz constant and deviation of ConvNets on part of CIFAR-10, over width.",
        references=tuple(facts_of(probe).references[0] for probe in (loss_sharpness, input_jacobian_norm, trace_path)),
        variants=(*names(WIDTHS), "right labels", "wrong labels", "trend", NO_TREND),
        measure=partial(measure, folder),
        claims=(
            Claim("Test error at the threshold is above the best below", "test_error", "threshold", "below", "higher"),
            Claim("Test error falls again beyond the threshold", "test_error", "threshold", "beyond", "higher"),
            *(
                claim
                for metric, called in {
                    "sharpness": "Sharpness along paths",
                    "lipschitz": "C_emp",
                    "deviation": "The absolute deviation",
                }.items()
                for claim in (
                    Claim(
                        f"{called} peaks at the threshold: above the narrowest",
                        metric,
                        "threshold",
                        NARROWEST,
                        "higher",
                    ),
                    Claim(
                        f"{called} at the threshold is above that of the widest", metric, "threshold", WIDEST, "higher"
                    ),
                )
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
                "wrong labels",
                "right labels",
                "higher",
            ),
            Claim("C_emp correlates with test error", "correlation", "trend", NO_TREND, "higher"),
        ),
        seeds=3,
        figure=figure,
    )


def measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    data, rows = noisy_cifar10(folder, seed), {}
    for width in WIDTHS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = ConvNet((3, 16, 16), 10, width=width, batch_norm=False)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        for _ in fit(model, data, learning_rate=RATE, steps=STEPS, batch_size=BATCH, seed=seed):
            pass
        rows[width] = {
            **errors(model, data),
            **sharpness_scores(model, data, PROBED),
            "lipschitz": input_jacobian_norm(model, data.inputs[:PROBED], chunk_size=100).mean.value,
            "deviation": _deviation(model, data.inputs[:PATHS]),
        }
    return scores_of(rows)


def scores_of(rows: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the scores of all variants from those of the widths."""
    found = with_landmarks(rows)
    return found | {
        "right labels": {"sharpness": found["threshold"]["sharpness_right"]},
        "wrong labels": {"sharpness": found["threshold"]["sharpness_wrong"]},
        "trend": {
            "largest_step": max(log_steps(rows, "gradient", start=threshold(rows)), default=0.0),
            "correlation": correlation(rows, "lipschitz", "test_error"),
        },
        NO_TREND: {"largest_step": 0.0, "correlation": 0.0},
    }


def noisy_cifar10(folder: Path | None, seed: int) -> NoisyImages:
    """Return the images of one seed.

    Args:
        folder: as for :func:`double_descent_cifar10`.
        seed: of the choice of images and of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    source = cifar10(shared_folder(folder) / "cifar10", shards=(0,))
    assert source.test is not None, "CIFAR-10 has a test set"
    images, labels = _some(source.train, TRAINED, generator)
    others, truth = _some(source.test, CHOOSING + REPORTED, generator)
    mean, std = images.mean(), images.std()
    images, others = (((part - mean) / std).to(memory_format=torch.channels_last) for part in (images, others))
    return NoisyImages(
        inputs=images,
        given=symmetric_noise(labels, NOISE, 10, generator=generator),
        truth=labels,
        choosing=(others[:CHOOSING], truth[:CHOOSING]),
        reported=(others[CHOOSING:], truth[CHOOSING:]),
    )


def _some(examples: Examples, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return images of half the size in [0, 1] and their true labels."""
    rows = torch.randperm(len(examples.labels), generator=generator)[:count]
    assert isinstance(examples.inputs, Tensor), "all images fit into memory"
    return F.avg_pool2d(examples.inputs[rows].float() / examples.value_range, 2), examples.labels[rows]


def _deviation(model: nn.Module, images: Tensor) -> float:
    paths = closed_shift_path(images, radius=RADIUS)
    start, end = paths[:, :-1].flatten(0, 1), paths[:, 1:].flatten(0, 1)
    return deviation_by_quadrature(model, start, end, points=POINTS).mean_deviation.value


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: test error, sharpness, gradient, Lipschitz constant and deviation, over the width.

    Args:
        scores: per variant and metric, one value per seed.
    """
    kinds = {"all labels": "", "right labels": "_right", "wrong labels": "_wrong"}
    panels = (
        Panel("test error", {"": "test_error"}),
        Panel("gradient of the loss along paths", {name: f"sharpness{end}" for name, end in kinds.items()}),
        Panel("gradient at the training images", {"": "gradient"}, logarithmic=True),
        Panel("Lipschitz constant on data", {"": "lipschitz"}),
        Panel("absolute deviation per unit of length", {"": "deviation"}),
    )
    return sweep_chart(scores, panels)
