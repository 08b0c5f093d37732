"""What fits say of their samples: too few for each class, none of a class, weights that count for nothing."""

import warnings

import pytest
import torch
from torch import Tensor

from trueline.calibrate import (
    BBQ,
    BetaCalibration,
    DirichletCalibration,
    HistogramBinning,
    IsotonicCalibration,
    LaplaceMix,
    MatrixScaling,
    MultiIsotonicCalibration,
    PlattScaling,
    QuadraticScaling,
    SplineCalibration,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    VennAbers,
)
from trueline.contracts import Calibrator


def _draw(samples: int = 240, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def _said(calibrator: Calibrator, labels: Tensor, logits: Tensor, weight: Tensor | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.unfitted().fit(labels, logits=logits, weight=weight)
    return [str(entry.message) for entry in caught]


PER_CLASS = [
    DirichletCalibration(grid=(1.0,)),
    MatrixScaling(off_diagonal=0.1),
    HistogramBinning(),
    IsotonicCalibration(),
]
SHUTTING = [
    VectorScaling(),
    MatrixScaling(),
    MatrixScaling(off_diagonal=0.1),
    DirichletCalibration(grid=(1.0,)),
    BetaCalibration(),
    QuadraticScaling(),
    PlattScaling(smoothing=False),
]
COUNTING = [
    BBQ(),
    VennAbers(),
    PlattScaling(),
    IsotonicCalibration(),
    HistogramBinning(),
    MultiIsotonicCalibration(),
    SplineCalibration(),
    StructuredVectorScaling(),
    LaplaceMix(TemperatureScaling()),
    LaplaceMix(StructuredVectorScaling()),
]


@pytest.mark.parametrize("calibrator", PER_CLASS, ids=repr)
def test_few_samples_for_each_class_are_warned_of(calibrator: Calibrator) -> None:
    labels, logits = _draw()
    (said,) = _said(calibrator, labels[:29], logits[:29])
    assert "is fitted to 29 samples, fewer than 10 for each of 3 classes" in said
    assert _said(calibrator, labels[:30], logits[:30]) == []


@pytest.mark.parametrize("calibrator", SHUTTING, ids=repr)
def test_a_class_without_samples_is_named_once(calibrator: Calibrator) -> None:
    labels, logits = _draw()
    kept = labels != 1
    (said,) = _said(calibrator, labels[kept], logits[kept])
    assert said.startswith(f"class 1 has no samples, so {type(calibrator).__name__} gives next to no probability there")
    assert _said(calibrator, labels, logits, kept.double()) == [said]  # a weight of zero is absence
    assert _said(LaplaceMix(calibrator), labels[kept], logits[kept]) == []  # which mends it


def test_many_absent_classes_are_not_all_listed() -> None:
    logits = torch.zeros(400, 10, dtype=torch.float64)
    (said,) = _said(VectorScaling(), torch.arange(400) % 2, logits)
    assert said.startswith("classes 2, 3, 4, 5, 6 and 3 more have no samples")


@pytest.mark.parametrize("calibrator", COUNTING, ids=repr)
def test_weights_that_sum_to_one_are_warned_of_once(calibrator: Calibrator) -> None:
    labels, logits = _draw()
    weight = torch.full((240,), 1 / 240, dtype=torch.float64)
    (said,) = _said(calibrator, labels, logits, weight)
    assert said.startswith("the weights of 240 samples sum to 1, and ")
    assert "reads weights as repetitions" in said
    assert _said(calibrator, labels, logits, 240 * weight) == []
    assert _said(calibrator, labels, logits) == []


@pytest.mark.parametrize(
    "calibrator", [TemperatureScaling(), VectorScaling(), IsotonicCalibration(laplace=0)], ids=repr
)
def test_maps_that_do_not_count_take_any_weights(calibrator: Calibrator) -> None:
    labels, logits = _draw()
    assert _said(calibrator, labels, logits, torch.full((240,), 1 / 240, dtype=torch.float64)) == []


def test_a_spline_worse_than_the_class_frequencies_says_so() -> None:
    labels, logits = _draw(1000, spread=1.0)
    (said,) = _said(SplineCalibration(), labels, 100 * logits)
    assert said.startswith("the spline's log loss on the samples it was fitted to is ")
    assert _said(SplineCalibration(), labels, logits) == []
    noise = torch.randint(3, (1000,), generator=torch.Generator().manual_seed(1))
    assert _said(SplineCalibration(), noise, logits / 4) == []  # as good as the class frequencies, and no worse
