"""What each measure is called and how it is to be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MeasureFacts:
    """How one measure is to be read.

    Args:
        title: its usual name.
        unit: ``"points"`` for shares, shown in percentage points; ``"nats"``; or ``"score"``.
        best: whether high values are best, low ones, or those near zero.
        meaning: what it says, in one sentence.
    """

    title: str
    unit: Literal["points", "nats", "score"]
    best: Literal["high", "low", "zero"]
    meaning: str


MEASURES: Mapping[str, MeasureFacts] = {
    "accuracy": MeasureFacts("Accuracy", "points", "high", "Share of samples whose predicted class is the label."),
    "top_5_accuracy": MeasureFacts(
        "Top-5 accuracy", "points", "high", "Share of samples whose label is among the five most probable classes."
    ),
    "log_loss": MeasureFacts(
        "Log loss", "nats", "low", "Mean of minus the logarithm of the probability given to the label."
    ),
    "brier": MeasureFacts(
        "Brier score", "score", "low", "Mean squared distance of the probabilities from the answer, from 0 to 2."
    ),
    "confidence_gap": MeasureFacts(
        "Confidence gap", "points", "zero", "Mean confidence minus accuracy: above zero promises too much."
    ),
    "ece": MeasureFacts(
        "Calibration error (ECE)",
        "points",
        "low",
        "Mean distance between confidence and accuracy over bins of equal width.",
    ),
    "mce": MeasureFacts(
        "Maximum calibration error", "points", "low", "Largest such distance of any bin, however few samples it holds."
    ),
    "ace": MeasureFacts(
        "Equal-mass calibration error", "points", "low", "The same mean distance over bins that hold equal numbers."
    ),
    "ece_classwise": MeasureFacts(
        "Classwise calibration error",
        "points",
        "low",
        "Mean over classes of the distance between the probability of a class and its frequency.",
    ),
    "ece_rms": MeasureFacts(
        "Root mean square calibration error", "points", "low", "Like the ECE, with large distances weighing more."
    ),
    "ece_debiased": MeasureFacts(
        "Debiased calibration error",
        "points",
        "low",
        "Root mean square distance over equal-mass bins, less what sampling alone would add; zero where that is more.",
    ),
    "ks": MeasureFacts(
        "KS calibration error",
        "points",
        "low",
        "Largest distance between summed confidence and summed correctness, in order of confidence; needs no bins.",
    ),
    "smooth_ece": MeasureFacts(
        "Smooth calibration error",
        "points",
        "low",
        "Distance between smoothed confidence and smoothed correctness, at the width that equals it; needs no bins.",
    ),
    "aurc": MeasureFacts(
        "Area under risk and coverage",
        "points",
        "low",
        "Share of errors among the most confident samples, averaged over how many of them are answered.",
    ),
    "excess_aurc": MeasureFacts(
        "Excess of that area", "points", "low", "What is lost against an order that puts every error last."
    ),
}
