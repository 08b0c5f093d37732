"""Real human label noise: CIFAR-10N's worst labels, judged by true labels and by fifty people an image."""

from typing import Any

from trueline.recipes._cifar10_run import cifar10_run
from trueline.recipes._recipe import Claim, Recipe
from trueline.recipes._references import CIFAR10N_PAPER, DPS_PAPER, ELR_PAPER, PSKD_PAPER, SMOOTHING_PAPER


def human_noise_cifar10() -> Recipe:
    """3,000 CIFAR-10 images with the worst of three human labels (40 % wrong), by objective."""
    objectives: dict[str, dict[str, Any]] = {
        "cross_entropy": {"name": "cross_entropy"},
        "label_smoothing": {"name": "label_smoothing", "smoothing": 0.1},
        "pskd": {"name": "pskd", "final_weight": 0.8},
        "elr": {"name": "elr", "momentum": 0.7, "strength": 3.0},
        "dps": {"name": "dps", "label_half_life": 4.0, "window": 10.0, "warmup_epochs": 1},
    }
    return Recipe(
        name="human-noise-cifar10",
        summary="Accuracy and agreement with human label distributions after training on noisy human labels.",
        references=(DPS_PAPER, CIFAR10N_PAPER, ELR_PAPER, PSKD_PAPER, SMOOTHING_PAPER),
        variants={
            name: cifar10_run(name, objective, labels="label_worst", train_size=3000, augment=True)
            for name, objective in objectives.items()
        },
        claims=(
            Claim(
                "DPS is more accurate than cross-entropy",
                "accuracy",
                "dps",
                "cross_entropy",
                "higher",
                "1 to 4 points expected",
            ),
            Claim("DPS forgets less after its best epoch", "forgotten", "dps", "cross_entropy", "lower"),
            Claim("ELR is more accurate than cross-entropy", "accuracy", "elr", "cross_entropy", "higher"),
            Claim(
                "Once a temperature is fitted, DPS is closer to what fifty people say",
                "human_log_loss_scaled",
                "dps",
                "cross_entropy",
                "lower",
            ),
        ),
    )
