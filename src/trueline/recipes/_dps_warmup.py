"""Warm-up of DPS on clean digits: flat early predictions should not become targets."""

from trueline.recipes._claim import Claim
from trueline.recipes._digits_run import digits_run
from trueline.recipes._recipe import Recipe
from trueline.recipes._references import DPS_PAPER


def dps_warmup() -> Recipe:
    """DPS on clean digits with 0, 3 and 8 epochs of warm-up, beside cross-entropy.

    The paper has no warm-up; the option, and the claim that it cures under-confidence, are this library's. The
    numbers called published come from a small study of the same network (calibration error in percent).
    """
    dps = {"name": "dps", "c": 10.0, "gamma": 0.9}
    variants = {
        "cross_entropy": digits_run("cross-entropy", {"name": "cross_entropy"}, noise=0.0),
        **{
            f"dps_warmup_{epochs}": digits_run(
                f"DPS, {epochs} epochs of warm-up", {**dps, "warmup_epochs": epochs}, noise=0.0
            )
            for epochs in (0, 3, 8)
        },
    }
    return Recipe(
        name="dps-warmup",
        summary="Calibration error of DPS on clean digits against the length of its warm-up.",
        references=(DPS_PAPER,),
        variants=variants,
        claims=(
            Claim("3 epochs of warm-up lower the ECE", "ece", "dps_warmup_3", "dps_warmup_0", "lower", "5.1, 16.1 %"),
            Claim("8 epochs lower it further", "ece", "dps_warmup_8", "dps_warmup_3", "lower", "2.9, 5.1 %"),
            Claim(
                "Without warm-up DPS is less confident than cross-entropy",
                "confidence_gap",
                "dps_warmup_0",
                "cross_entropy",
                "lower",
                "16.1 % all under-confidence; 1.0 %",
            ),
        ),
        seeds=5,
    )
