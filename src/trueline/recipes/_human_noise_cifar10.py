"""Real human label noise: CIFAR-10N's worst labels, judged by true labels and by fifty people an image."""

from typing import Any

from trueline.recipes._cifar10_run import cifar10_run
from trueline.recipes._claim import Claim
from trueline.recipes._recipe import Recipe
from trueline.recipes._references import CIFAR10N_PAPER, DPS_PAPER, ELR_PAPER, PSKD_PAPER, SMOOTHING_PAPER


def human_noise_cifar10() -> Recipe:
    """3,000 CIFAR-10 images with the worst of three human labels (40 % wrong), with and without augmentation.

    Without augmentation the network has time to learn the wrong labels by heart; with it, a network of this size
    does not come to that in 30 epochs, and there is little for a remedy to mend.
    """
    objectives: dict[str, dict[str, Any]] = {
        "cross_entropy": {"name": "cross_entropy"},
        "label_smoothing": {"name": "label_smoothing", "smoothing": 0.1},
        "pskd": {"name": "pskd", "final_weight": 0.8},
        "elr": {"name": "elr", "momentum": 0.7, "strength": 3.0},
        "dps": {"name": "dps", "label_half_life": 4.0, "window": 10.0, "warmup_epochs": 1},
    }
    variants = {
        f"{regime}/{name}": cifar10_run(name, objective, labels="label_worst", train_size=3000, augment=augment)
        for regime, augment in (("plain", False), ("augmented", True))
        for name, objective in objectives.items()
    }
    claims = []
    for regime in ("plain", "augmented"):
        dps, elr, baseline = (f"{regime}/{name}" for name in ("dps", "elr", "cross_entropy"))
        expected = "1 to 4 points expected"
        claims += [
            Claim(f"{regime}: DPS is more accurate than cross-entropy", "accuracy", dps, baseline, "higher", expected),
            Claim(f"{regime}: DPS forgets less after its best epoch", "forgotten", dps, baseline, "lower"),
            Claim(f"{regime}: ELR is more accurate than cross-entropy", "accuracy", elr, baseline, "higher"),
            Claim(
                f"{regime}: once a temperature is fitted, DPS is closer to what fifty people say",
                "human_log_loss_scaled",
                dps,
                baseline,
                "lower",
            ),
        ]
    return Recipe(
        name="human-noise-cifar10",
        summary="Accuracy and agreement with human label distributions after training on noisy human labels.",
        references=(DPS_PAPER, CIFAR10N_PAPER, ELR_PAPER, PSKD_PAPER, SMOOTHING_PAPER),
        variants=variants,
        claims=tuple(claims),
    )
