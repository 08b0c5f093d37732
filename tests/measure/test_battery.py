"""Every public measure that returns values goes through the public battery, with its options."""

import math
from functools import partial

import pytest
import torch

from trueline import measure
from trueline.contracts import check_measure
from trueline.measure import calibration_error, smooth_calibration_error, top_k_accuracy

EXACT = {
    "accuracy": measure.accuracy,
    "top 1": partial(top_k_accuracy, k=1),
    "top 2": partial(top_k_accuracy, k=2),
    "log_loss": measure.log_loss,
    "brier": measure.brier,
    "confidence_gap": measure.confidence_gap,
    "ece": calibration_error,
    "ece, norm 2": partial(calibration_error, norm=2),
    "mce": partial(calibration_error, norm=math.inf),
    "ece, one bin": partial(calibration_error, bins=1),
    "ece, 100 bins": partial(calibration_error, bins=100),
    "ece, classwise": partial(calibration_error, classwise=True),
    "ks": measure.ks_calibration_error,
    "mmce": measure.maximum_mean_calibration_error,
    "smooth": smooth_calibration_error,
    "smooth, narrow": partial(smooth_calibration_error, width=0.01),
    "smooth, wide": partial(smooth_calibration_error, width=1.0),
}
NEARLY = {
    "ece, mass": partial(calibration_error, binning="mass"),
    "ece, mass, classwise": partial(calibration_error, binning="mass", classwise=True),
    "ece, mass, norm 2": partial(calibration_error, binning="mass", norm=2),
    "ece, debiased": partial(calibration_error, debias=True),
    "ece, norm 2, debiased": partial(calibration_error, norm=2, debias=True),
    "ece, norm 2, debiased, classwise": partial(calibration_error, norm=2, debias=True, classwise=True),
    "kernel density": measure.kernel_density_calibration_error,
    "ece, mass, debiased": partial(calibration_error, binning="mass", debias=True),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_battery_passes(name: str) -> None:
    assert check_measure(EXACT[name]) is None


@pytest.mark.parametrize("name", NEARLY)
def test_the_battery_passes_where_integer_weights_are_only_nearly_repetitions(name: str) -> None:
    assert check_measure(NEARLY[name], exact_weights=False) is None


@pytest.mark.parametrize("name", NEARLY)
def test_integer_weights_are_nearly_repetitions(name: str, generator: torch.Generator) -> None:
    logits = 2 * torch.randn(2000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((0.5 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    times = torch.randint(0, 4, (2000,), generator=generator)
    weighted = NEARLY[name](labels, logits=logits, weight=times.double())
    repeated = NEARLY[name](labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0))
    assert weighted.item() == pytest.approx(repeated.item(), rel=0.1)


def test_no_public_measure_of_labels_is_left_out() -> None:
    tested = {getattr(entry, "func", entry).__name__ for entry in (EXACT | NEARLY).values()}
    missing = {name for name in measure.__all__ if _returns_values(getattr(measure, name))} - tested
    assert not missing, f"add {', '.join(sorted(missing))} to the battery"


def _returns_values(member: object) -> bool:
    """Whether it is a function of labels and predictions that returns a tensor."""
    hints = getattr(member, "__annotations__", {})
    return getattr(hints.get("return"), "array_type", None) is torch.Tensor and {"labels", "logits"} <= hints.keys()
