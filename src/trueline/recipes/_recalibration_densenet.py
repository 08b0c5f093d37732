"""Recalibration maps that destroy accuracy, after Guo et al. (2017), on 100 classes of a DenseNet."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trueline.calibrate import (
    HCalibration,
    HistogramBinning,
    Identity,
    IsotonicCalibration,
    MatrixScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from trueline.contracts import Calibrator, facts_of
from trueline.measure import calibration_error, mean_scores, null_calibration
from trueline.recipes._claim import Claim
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._prediction_files import random_halves, saved_predictions
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

FILE = "densenet, cifar100"
MAPS: dict[str, Calibrator] = {
    "none": Identity(),
    "temperature": TemperatureScaling(),
    "vector": VectorScaling(),
    "structured vector": StructuredVectorScaling(),
    "structured matrix": StructuredMatrixScaling(),
    "isotonic": IsotonicCalibration(),
    "isotonic, as published": IsotonicCalibration(laplace=0),
    "matrix": MatrixScaling(force=True),
    "histogram": HistogramBinning(),
}
LIMIT = "limit of chance"


def recalibration_densenet(folder: Path | None = None) -> Study:
    """The predictions of a DenseNet on the 10,000 test images of CIFAR-100: what do recalibration maps cost?

    A seed draws two halves; a map is fitted to one and judged on the other. ``temperature``, ``vector`` and ``matrix``
    have no penalty, and the last is forced on 5,000 samples for 10,100 numbers, which ``MatrixScaling`` refuses
    otherwise. ``structured vector`` and ``structured matrix`` are the maps with penalties, ``isotonic`` and
    ``histogram`` (15 bins of equal mass) treat every class against the rest. All have their default options: isotonic
    regression and binning mix in a 5,001st part of the uniform distribution, ``isotonic, as published`` does not.

    ``ece`` has 15 bins of equal width and ``ece_mass`` of equal mass; ``classwise`` is the mean over classes. ``over``
    is ``ece`` divided by what it stays below in 95 % of cases if the probabilities are right, so that a value below 1
    is within chance.

    The numbers called published are for a ResNet-110 on CIFAR-100, or means over the vision tasks of two public
    benchmarks of recalibration maps: CalArena (20 tasks) and that of the authors of h-calibration (15).

    Args:
        folder: holds ``predictions``; by default what ``TRUELINE_DATA`` names.
    """
    none, temperature = "none", "temperature"
    claims = [
        Claim("Temperature scaling lowers the ECE", "ece", temperature, none, "lower", ".0126, .1653"),
        Claim("Temperature scaling lowers the log loss", "log_loss", temperature, none, "lower"),
        Claim("After temperature scaling the ECE is within chance", "over", temperature, LIMIT, "lower"),
        Claim("Vector scaling without a penalty is worse in log loss", "log_loss", "vector", temperature, "higher"),
        Claim("Histogram binning lowers the ECE", "ece", "histogram", none, "lower", ".0266, .1653"),
        Claim("Histogram binning costs accuracy", "accuracy", "histogram", none, "lower"),
        Claim("Histogram binning has a worse Brier score than no map", "brier", "histogram", none, "higher"),
        Claim("Histogram binning has a worse log loss than no map", "log_loss", "histogram", none, "higher"),
        Claim("Matrix scaling without a penalty raises the ECE", "ece", "matrix", none, "higher", ".2549, .1653"),
        Claim("Matrix scaling without a penalty costs accuracy", "accuracy", "matrix", none, "lower"),
        Claim("Matrix scaling without a penalty has a worse log loss", "log_loss", "matrix", none, "higher"),
        Claim("Isotonic regression lowers the ECE", "ece", "isotonic", none, "lower", ".0499, .1653"),
        Claim(
            "Isotonic regression costs at most a point of accuracy", "accuracy", "isotonic", none, "higher", margin=0.01
        ),
        Claim(
            "Isotonic regression as published has a worse log loss than no map",
            "log_loss",
            "isotonic, as published",
            none,
            "higher",
            "1.804, .822 over 15 tasks",
        ),
        Claim("Mixed with a little of the uniform distribution it has not", "log_loss", "isotonic", none, "lower"),
        Claim("It stays worse than one temperature", "log_loss", "isotonic", temperature, "higher"),
    ]
    benchmark = {"vector": (".6855, .7138", ".2838, .2909"), "matrix": (".6740, .7138", ".2801, .2909")}
    for kind, published in benchmark.items():
        scores = {"log_loss": "log loss", "brier": "Brier score"}
        claims += [
            Claim(
                f"The structured {kind} has a better {words} than one temperature",
                metric,
                f"structured {kind}",
                temperature,
                "lower",
                f"{numbers} over 20 tasks",
            )
            for (metric, words), numbers in zip(scores.items(), published, strict=True)
        ]
    sources = (TemperatureScaling, HistogramBinning, IsotonicCalibration, StructuredMatrixScaling, HCalibration)
    return Study(
        name="recalibration-densenet",
        summary="Accuracy, proper scores and calibration errors of a DenseNet on CIFAR-100 after eight maps.",
        references=tuple(facts_of(source).references[0] for source in sources),
        variants=(*MAPS, LIMIT),
        measure=partial(measure, folder),
        claims=tuple(claims),
        figure=figure,
    )


def measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    """Split the predictions by the seed and return the scores of all maps."""
    logits, labels = saved_predictions(FILE, folder)
    fitted, judged = random_halves(len(labels), seed)
    found: dict[str, dict[str, float]] = {LIMIT: {"over": 1.0}}
    for name, calibrator in MAPS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that samples are few for a map is what is shown here
            own = calibrator.unfitted().fit(labels[fitted], logits=logits[fitted])
        probs = own.predict_proba(logits=logits[judged])
        truth = labels[judged]
        scores = mean_scores(truth, probs=probs)
        found[name] = scores | {
            "ece_mass": calibration_error(truth, probs=probs, binning="mass").item(),
            "classwise": calibration_error(truth, probs=probs, classwise=True).item(),
            "over": scores["ece"] / null_calibration(probs=probs).error_limit,
        }
    return found


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: accuracy, ECE, Brier score and log loss of every map.

    Args:
        scores: per variant and metric, one value per seed.
    """
    panels = {"accuracy": "accuracy", "ece": "ECE", "brier": "Brier score", "log_loss": "log loss (nats)"}
    charts = [
        dot_panel(
            title,
            {name: scores[name][metric] for name in MAPS},
            dashed=(torch.tensor(scores["none"][metric]).mean().item(),),
        )
        for metric, title in panels.items()
    ]
    words = f"Mean and 95 % interval over {len(scores['none']['ece'])} random halves. Dashed: without a map."
    return side_by_side(charts, words, columns=2)
