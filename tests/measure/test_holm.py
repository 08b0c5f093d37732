"""Holm's correction: small cases by hand, and what it promises."""

import math

import pytest
import torch

from trueline.measure._holm import holm


def test_a_case_by_hand() -> None:
    adjusted = holm(torch.tensor([0.01, 0.04, 0.03, 0.5], dtype=torch.float64))
    assert adjusted.tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_one_test_needs_no_correction_and_none_gives_none() -> None:
    assert holm(torch.tensor([0.3])).tolist() == pytest.approx([0.3])
    assert len(holm(torch.empty(0))) == 0


def test_missing_tests_do_not_count() -> None:
    adjusted = holm(torch.tensor([math.nan, 0.01, 0.5], dtype=torch.float64))
    assert adjusted[0].isnan()
    assert adjusted[1:].tolist() == pytest.approx([0.02, 0.5])


def test_corrected_values_keep_the_order_and_stay_probabilities(generator: torch.Generator) -> None:
    p = torch.rand(50, generator=generator, dtype=torch.float64)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    assert (adjusted[p.argsort()].diff() >= 0).all()
