"""Named experiments: functions that return the runs they compare and the published claims they test."""

from trueline.contracts import Catalogue
from trueline.recipes._demo import demo_runs
from trueline.recipes._dps_calibration_cifar10 import dps_calibration_cifar10
from trueline.recipes._dps_noise_digits import dps_noise_digits
from trueline.recipes._dps_resnet18_cifar10 import dps_resnet18_cifar10
from trueline.recipes._dps_warmup import dps_warmup
from trueline.recipes._human_noise_cifar10 import human_noise_cifar10
from trueline.recipes._recipe import (
    Claim,
    Judgement,
    Recipe,
    Reproduction,
    judge,
    reproduce,
)
from trueline.recipes._score import score_run

__all__ = [
    "RECIPES",
    "Claim",
    "Judgement",
    "Recipe",
    "Reproduction",
    "demo_runs",
    "dps_calibration_cifar10",
    "dps_noise_digits",
    "dps_resnet18_cifar10",
    "dps_warmup",
    "human_noise_cifar10",
    "judge",
    "reproduce",
    "score_run",
]

RECIPES: Catalogue[Recipe] = Catalogue(
    "recipe",
    {
        "dps-noise-digits": dps_noise_digits,
        "dps-warmup": dps_warmup,
        "dps-calibration-cifar10": dps_calibration_cifar10,
        "human-noise-cifar10": human_noise_cifar10,
        "dps-resnet18-cifar10": dps_resnet18_cifar10,
    },
)
"""Recipes by the name that ``trueline reproduce`` takes."""
