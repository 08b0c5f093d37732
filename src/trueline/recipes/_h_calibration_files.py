"""h-calibration against temperature scaling on saved predictions, after Huang et al. (2025)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trueline.calibrate import (
    EnsembleTemperatureScaling,
    HCalibration,
    Identity,
    PiecewiseLinearHCalibration,
    TemperatureScaling,
)
from trueline.contracts import Calibrator, facts_of
from trueline.measure import calibration_error, mean_scores
from trueline.recipes._claim import Claim
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._prediction_files import FILES, random_halves, saved_predictions
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

TEMPERATURE = "temperature"
H_MAPS: dict[str, Calibrator] = {"h ensemble": HCalibration(), "h piecewise": PiecewiseLinearHCalibration()}
MAPS: dict[str, Calibrator] = {
    "none": Identity(),
    TEMPERATURE: TemperatureScaling(),
    "ensemble": EnsembleTemperatureScaling(),
    **H_MAPS,
}
EQUAL = 0.002  # nats of log loss that are no loss


def h_calibration_files(folder: Path | None = None) -> Study:
    """Predictions of four published networks: is h-calibration better than one temperature?

    ResNet-50, VGG-16 and a wide ResNet on CIFAR-10, and a DenseNet on CIFAR-100. A seed draws two halves of each file;
    a map is fitted to one and judged on the other. ``h ensemble`` mixes 16 temperatures and ``h piecewise`` bends
    log-probabilities on 10 segments, both fitted by the h-calibration objective with default options (no class left
    out, 200 steps, nothing chosen on the data). ``ensemble`` is ensemble temperature scaling, fitted by log loss, and
    ``none`` leaves predictions as they are.

    ``ece`` has 15 bins of equal width, ``ece_mass`` of equal mass, ``debiased`` is the debiased root mean square error
    of those; ``classwise_sum`` is the sum over classes of their errors, as the published tables have it.

    The authors' tables choose the number of segments and of temperatures by calibration errors; here nothing is chosen.
    What is claimed is the published direction: smaller calibration errors than one temperature.

    Args:
        folder: holds ``predictions``; by default what ``TRUELINE_DATA`` names.
    """
    errors = {"ece": "ECE", "ece_mass": "equal-mass ECE", "classwise_sum": "classwise error"}
    claims = [
        Claim(f"{file}: {name} has the smaller {words}", metric, f"{file}: {name}", f"{file}: {TEMPERATURE}", "lower")
        for file in FILES
        for name in H_MAPS
        for metric, words in errors.items()
    ]
    claims += [
        Claim(
            f"{file}: {name} costs at most {EQUAL} nats of log loss",
            "log_loss",
            f"{file}: {name}",
            f"{file}: {TEMPERATURE}",
            "lower",
            margin=EQUAL,
        )
        for file in FILES
        for name in H_MAPS
    ]
    return Study(
        name="h-calibration-files",
        summary="h-calibration, by an ensemble and by a piecewise linear map, against one temperature on four files.",
        references=tuple(
            facts_of(source).references[0] for source in (HCalibration, TemperatureScaling, EnsembleTemperatureScaling)
        ),
        variants=tuple(f"{file}: {name}" for file in FILES for name in MAPS),
        measure=partial(measure, folder),
        claims=tuple(claims),
        figure=figure,
    )


def measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    """Split each file by the seed and return the scores of all maps."""
    found = {}
    for file in FILES:
        logits, labels = saved_predictions(file, folder)
        fitted, judged = random_halves(len(labels), seed)
        truth = labels[judged]
        for name, calibrator in MAPS.items():
            own = calibrator.unfitted().fit(labels[fitted], logits=logits[fitted])
            probs = own.predict_proba(logits=logits[judged])
            found[f"{file}: {name}"] = mean_scores(truth, probs=probs) | {
                "ece_mass": calibration_error(truth, probs=probs, binning="mass").item(),
                "debiased": calibration_error(truth, probs=probs, binning="mass", norm=2, debias=True).item(),
                "classwise_sum": probs.shape[1] * calibration_error(truth, probs=probs, classwise=True).item(),
            }
    return found


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: how far each map is from temperature scaling, by calibration error and file.

    Args:
        scores: per variant and metric, one value per seed.
    """
    panels = {"ece": "ECE", "ece_mass": "equal-mass ECE", "classwise_sum": "classwise error", "log_loss": "log loss"}
    charts = []
    for number, (metric, title) in enumerate(panels.items()):
        rows = {
            f"{file}: {name}": [
                value - base
                for value, base in zip(
                    scores[f"{file}: {name}"][metric], scores[f"{file}: {TEMPERATURE}"][metric], strict=True
                )
            ]
            for file in FILES
            for name in MAPS
            if name not in ("none", TEMPERATURE)
        }
        charts.append(dot_panel(title, rows, dashed=(0.0,), named=number % 2 == 0))
    words = "Difference to temperature scaling, mean and 95 % interval over {} random halves; below 0 is better."
    return side_by_side(charts, words.format(len(scores[f"{next(iter(FILES))}: none"]["ece"])), columns=2)
