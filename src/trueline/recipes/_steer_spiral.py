"""Steering of a network that has over-fitted a noisy spiral, after a demonstration of Hu, Gamba and Balestriero."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trueline.contracts import facts_of
from trueline.measure import mean_scores
from trueline.recipes._claim import Claim
from trueline.recipes._relu_network import fit_full_batch, log_odds, relu_network
from trueline.recipes._study import Study
from trueline.steer import search_beta, set_beta, steer

BETAS = (0.95, 0.9, 0.8, 0.7, 0.5)
CHOSEN = {"mixed": 0.5, "softplus": 0.0, "gated": 1.0}  # mix of each steered variant
FIXED = tuple(f"mixed, beta {beta:g}" for beta in BETAS)
CONTROL = tuple(f"small/{name}" for name in ("relu", *CHOSEN))


def steer_spiral() -> Study:
    """A noisy spiral of two arms, learned by heart, wrong labels included: does a smaller β mend the boundary?

    1,024 points at angles θ drawn uniformly from [π/2, 3π] and radius θ, the second arm turned by half a circle,
    Gaussian noise of 0.7 on both coordinates, and 16 % of the labels flipped. An MLP 2-100-100-100-1 with ReLU, AdamW
    at 0.01 with weight decay 0.01, 800 steps on all points at once. The control is a net that does not over-fit:
    2-20-20-1, 2,000 steps at 0.001, which is divided by ten every 500.

    Of 4,000 points with true labels and the same noise on the coordinates, 500 choose β from 1, .95, .9, .8, .7, .5 by
    accuracy, for each variant by itself, and the other 3,500 are reported. ``mixed`` has the mix ½, ``softplus`` 0 and
    ``gated`` 1; ``rms`` is ``mixed`` with corners as wide as the root mean square of what comes in, measured on
    the 500; ``mixed, beta .8`` and the others are not chosen. A seed draws the points and the start of the networks.
    """
    return Study(
        name="steer-spiral",
        summary="Accuracy of a net that has over-fitted a noisy spiral, steered along β, by branch; with a control.",
        references=facts_of(steer).references,
        variants=("relu", *CHOSEN, "rms", *FIXED, *CONTROL),
        measure=_measure,
        claims=(
            Claim("S-CT is more accurate than ReLU", "accuracy", "mixed", "relu", "higher", ".8815, .8687"),
            Claim(
                "Mixed is more accurate than softplus alone", "accuracy", "mixed", "softplus", "higher", ".882, .873"
            ),
            Claim(
                "Mixed is more accurate than the gated branch alone",
                "accuracy",
                "mixed",
                "gated",
                "higher",
                ".882, .879",
            ),
            Claim(
                "The optimum is inside: smoother than ReLU is better, beta .5 is too smooth",
                "accuracy",
                "mixed",
                FIXED[-1],
                "higher",
                ".8815, .8407",
            ),
            Claim("Widths relative to the input do better", "accuracy", "rms", "mixed", "higher", ".8885, .8815"),
            Claim("The steered net has the lower log loss", "log_loss", "mixed", "relu", "lower"),
            Claim(
                "Control: a net that has not over-fitted gains too",
                "accuracy",
                "small/mixed",
                "small/relu",
                "higher",
                ".959, .9596: it does not",
            ),
        ),
    )


def _measure(seed: int) -> dict[str, dict[str, float]]:
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = spiral(1024, generator)
    flipped = torch.rand(len(labels), generator=generator) < 0.16
    given = torch.where(flipped, 1 - labels, labels)
    inputs_clean, labels_clean = spiral(4000, generator)
    val, test = (inputs_clean[:500], labels_clean[:500]), (inputs_clean[500:], labels_clean[500:])

    model = relu_network((2, 100, 100, 100, 1), seed)
    fit_full_batch(model, inputs, given, learning_rate=1e-2, steps=800)
    found = _steered(model, val, test) | {"rms": _chosen(model, val, test, 0.5, scale="rms")}
    twin = steer(model, 1.0, example=val[0])
    for name, beta in zip(FIXED, BETAS, strict=True):
        set_beta(twin, beta)
        found[name] = _scores(twin, test, beta)

    small = relu_network((2, 20, 20, 1), seed)
    fit_full_batch(small, inputs, given, learning_rate=1e-3, steps=2000, factor=lambda step: 0.1 ** (step // 500))
    return found | {f"small/{name}": scores for name, scores in _steered(small, val, test).items()}


def _steered(model: nn.Module, val: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, dict[str, float]]:
    chosen = {name: _chosen(model, val, test, mix) for name, mix in CHOSEN.items()}
    return {"relu": _scores(model, test, 1.0)} | chosen


def _chosen(
    model: nn.Module, val: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], mix: float, **options: Any
) -> dict[str, float]:
    found = search_beta(model, *val, betas=BETAS, mix=mix, batch_size=len(val[0]), **options)
    return _scores(found.model, test, found.beta)


def _scores(model: nn.Module, test: tuple[Tensor, Tensor], beta: float) -> dict[str, float]:
    inputs, labels = test
    return mean_scores(labels, logits=log_odds(model, inputs)) | {"beta": beta}


def spiral(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points of the spiral.

    Args:
        count: how many; half of them, rounded down, lie on the second arm.
        generator: source of randomness.

    Returns:
        (N, 2) points in random order of the angles, and (N,) labels.
    """
    labels = torch.arange(count) % 2
    angle = math.pi / 2 + torch.rand(count, generator=generator) * 2.5 * math.pi
    turned = angle + math.pi * labels
    arms = angle[:, None] * torch.stack([turned.cos(), turned.sin()], dim=1)
    return arms + 0.7 * torch.randn(count, 2, generator=generator), labels
