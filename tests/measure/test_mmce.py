"""The maximum mean calibration error: the battery, the double sum, bounds, and closed forms."""

import math
from functools import partial

import pytest
import torch
from oracles import kernel_calibration as oracle

from trueline.contracts import check_measure
from trueline.measure._mmce import maximum_mean_calibration_error


@pytest.mark.parametrize("width", [0.4, 0.01])
def test_it_keeps_the_contract_of_measures(width: float) -> None:
    check_measure(partial(maximum_mean_calibration_error, width=width))


@pytest.mark.parametrize("width", [0.005, 0.05, 0.4, 100.0])
def test_the_double_sum_agrees(generator: torch.Generator, width: float) -> None:
    probs = torch.rand(60, generator=generator, dtype=torch.float64) * 0.5 + 0.5
    labels = torch.randint(0, 2, (60,), generator=generator)
    weight = torch.rand(60, generator=generator, dtype=torch.float64)
    for w in (None, weight):
        expected = oracle.mean_embedding(probs.tolist(), labels.tolist(), width, None if w is None else w.tolist())
        found = maximum_mean_calibration_error(labels, probs=probs, weight=w, width=width).item()
        assert found == pytest.approx(expected, rel=1e-8)


def test_it_lies_between_its_bounds(generator: torch.Generator) -> None:
    for width in (0.1, 0.4, 3.0):
        probs = torch.rand(50, generator=generator, dtype=torch.float64) * 0.5 + 0.5
        labels = torch.randint(0, 2, (50,), generator=generator)
        gaps = probs - labels.double()
        found = maximum_mean_calibration_error(labels, probs=probs, width=width).item()
        low = gaps.mean().abs().item() / math.sqrt(1 + 1 / (2 * width))
        assert low <= found <= gaps.abs().mean().item()


def test_a_wide_kernel_leaves_the_mean_gap(generator: torch.Generator) -> None:
    probs = torch.rand(50, generator=generator, dtype=torch.float64) * 0.5 + 0.5
    labels = torch.zeros(50, dtype=torch.int64)
    found = maximum_mean_calibration_error(labels, probs=probs, width=1e6).item()
    assert found == pytest.approx(probs.mean().item(), rel=1e-5)


def test_widths_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width must be a finite number of at least 0\.005, got 0\.001"):
        maximum_mean_calibration_error(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), width=0.001)
