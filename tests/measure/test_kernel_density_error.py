"""The calibration error by kernel densities: the battery, closed forms, and the slow twin."""

from functools import partial

import pytest
import torch
from oracles import kernel_calibration as oracle

from trueline.contracts import check_measure
from trueline.measure._kernel_density_error import kernel_density_calibration_error


@pytest.mark.parametrize("norm", [1, 2])
def test_it_keeps_the_contract_of_measures(norm: int) -> None:
    check_measure(partial(kernel_density_calibration_error, norm=norm), exact_weights=False)


@pytest.mark.parametrize("norm", [1, 2])
def test_the_slow_twin_agrees(generator: torch.Generator, norm: int) -> None:
    probs = torch.rand(15, generator=generator, dtype=torch.float64) * 0.49 + 0.51
    labels = (torch.rand(15, generator=generator) < 0.7).long()
    expected = oracle.density_error(probs.tolist(), labels.bool().tolist(), norm)
    found = kernel_density_calibration_error(labels, probs=probs, norm=norm).item()
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("confidence", "hits"), [(0.8, 10), (0.8, 20), (0.6, 0)])
def test_equal_confidences_have_the_gap_as_error(confidence: float, hits: int) -> None:
    labels, probs = (torch.arange(20) < hits).long(), torch.full((20,), confidence, dtype=torch.float64)
    found = kernel_density_calibration_error(labels, probs=probs).item()
    assert found == pytest.approx(abs(confidence - hits / 20), abs=1e-3)


def test_no_mass_is_lost_at_the_ends() -> None:
    probs = torch.tensor([1.0, 0.5] * 50, dtype=torch.float64)
    wrong = torch.tensor([0, 1] * 50)  # class 1 is predicted at 1 and never comes; 0.5 ties go to class 0
    found = kernel_density_calibration_error(wrong, probs=probs).item()
    assert found == pytest.approx((1 + 0.5) / 2, abs=2e-3)


def test_it_finds_the_true_error(generator: torch.Generator) -> None:
    confidence = torch.rand(5000, generator=generator, dtype=torch.float64) * 0.5 + 0.5
    labels = (torch.rand(5000, generator=generator) < confidence - 0.2).long()
    assert kernel_density_calibration_error(labels, probs=confidence).item() == pytest.approx(0.2, abs=0.02)


def test_norms_are_one_and_two() -> None:
    with pytest.raises((ValueError, TypeError), match="norm"):
        kernel_density_calibration_error(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), norm=3)
