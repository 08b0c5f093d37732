"""Bayesian binning into quantiles: one bin by hand, the slow twin, limits of the prior, hard cases."""

import math

import pytest
import torch
from oracles import binning_maps as oracle

from trueline.calibrate import BBQ
from trueline.calibrate._bbq import numbers_of_bins
from trueline.contracts import check_calibrator, facts_of


def _draw(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    odds = 2 * torch.randn(samples, generator=generator)
    return torch.bernoulli((odds / 2).sigmoid(), generator=generator).long(), odds.double()


def test_it_keeps_the_contract() -> None:
    check_calibrator(BBQ)


def test_the_numbers_of_bins_are_the_authors() -> None:
    assert numbers_of_bins(1) == range(1, 2)
    assert numbers_of_bins(60) == range(1, 13)  # at most n/5
    assert numbers_of_bins(8000) == range(2, 201)  # from n^(1/3)/10 to 10·n^(1/3)
    assert numbers_of_bins(1000) == range(1, 101)


def test_few_samples_are_one_bin_with_a_prior_of_one_half() -> None:
    # n/5 allows one bin only; its middle is 1/2, so two samples worth of prior add one hit.
    labels, odds = torch.tensor([1, 1, 0, 1, 1]), torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    probs = BBQ().fit(labels, logits=odds).predict_proba(logits=odds)
    assert probs[:, 1].tolist() == pytest.approx([(4 + 1) / (5 + 2)] * 5)
    strong = BBQ(strength=1e9).fit(labels, logits=odds).predict_proba(logits=odds)
    assert strong[:, 1].tolist() == pytest.approx([0.5] * 5)


@pytest.mark.parametrize("strength", [2.0, 7.0])
def test_the_slow_twin_agrees(generator: torch.Generator, strength: float) -> None:
    labels, odds = _draw(generator)
    odds = odds.round(decimals=1)  # with ties
    exact = odds.float().double().tolist()
    fitted = BBQ(strength=strength).fit(labels, logits=odds)
    asked = torch.linspace(-6, 6, 13).double() + 0.033
    expected = [oracle.bbq(exact, labels.tolist(), s, strength) for s in asked.tolist()]
    assert fitted.predict_proba(logits=asked)[:, 1].tolist() == pytest.approx(expected, abs=1e-7)


def test_classes_that_are_parted_stay_off_zero_and_one() -> None:
    odds = torch.linspace(-5, 5, 100).double()
    probs = BBQ().fit((odds > 0).long(), logits=odds).predict_proba(logits=odds)[:, 1]
    assert 0 < probs.min() < 0.05
    assert 0.95 < probs.max() < 1
    assert torch.allclose(probs, 1 - probs.flip(0), atol=0.01)  # nearly as symmetric as the data


@pytest.mark.parametrize("strength", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be positive and finite"):
        BBQ(strength=strength)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(BBQ).references[0].year == 2015
    assert BBQ().n_parameters(2) is None


def test_weights_of_any_scale_are_fitted_and_one_that_is_all_says_the_frequency() -> None:
    probs = torch.tensor([0.2, 0.2, 0.2, 0.7, 0.7], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 0])
    for scale in (1e30, 1e200):  # of as many samples no number of bins is too large
        weight = torch.full((5,), scale, dtype=torch.float64)
        fitted = BBQ().fit(labels, probs=probs, weight=weight)
        assert fitted.predict_proba(probs=probs)[::3, 1].tolist() == pytest.approx([1 / 3, 1 / 2], abs=1e-6)
