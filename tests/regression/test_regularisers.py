"""Training-time terms: closed forms, limits, the slow twin, gradients that repair, and refusals."""

import math
from functools import partial

import pytest
import torch
from oracles import regression as oracle

from trueline.regression import (
    Gaussian,
    individual_calibration_penalty,
    pce_kde,
    pce_sort,
    probabilistic_calibration_error,
    quantile_entropy,
    sorted_calibration_error,
)


def test_pits_at_one_half_have_a_closed_form() -> None:
    pit = torch.full((300,), 0.5, dtype=torch.float64)
    # The area between a step and a logistic function of sharpness s is 2·ln 2/s.
    expected = 0.25 - 2 * math.log(2) / 50
    assert pce_kde(pit, levels=2000, sharpness=50).item() == pytest.approx(expected, abs=1e-5)


def test_sharp_kernels_and_cold_sorts_are_the_measures(generator: torch.Generator) -> None:
    pit = torch.rand(64, generator=generator, dtype=torch.float64)
    at = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    share = (pit <= at[:, None]).double().mean(dim=1)
    assert pce_kde(pit, sharpness=1e7).item() == pytest.approx((at - share).abs().mean().item(), abs=1e-6)
    assert pce_sort(pit, temperature=1e-8).item() == pytest.approx(sorted_calibration_error(pit).item(), abs=1e-9)
    assert pce_kde(pit).item() == pytest.approx(probabilistic_calibration_error(pit).item(), abs=0.01)


def test_the_slow_twin_gives_the_same_entropy(generator: torch.Generator) -> None:
    pit = torch.rand(50, generator=generator, dtype=torch.float64)
    for spacing in (1, 7, 49):
        expected = oracle.quantile_entropy(pit.tolist(), spacing)
        assert quantile_entropy(pit, spacing=spacing).item() == pytest.approx(expected, rel=1e-10)


def test_even_pits_are_best() -> None:
    even = torch.arange(1, 257, dtype=torch.float64) / 257
    for term in (pce_kde, pce_sort, quantile_entropy):
        assert term(even) < term(even.square())
        assert term(even) < term(0.25 + even / 2)
    assert quantile_entropy(even).item() == pytest.approx(-1e-5, rel=1e-3)  # -ln(1 + 1e-5)


def test_order_does_not_matter_and_the_mirror_neither(generator: torch.Generator) -> None:
    pit = torch.rand(100, generator=generator, dtype=torch.float64)
    for term in (pce_kde, pce_sort, quantile_entropy):
        for other in (pit.flip(0), 1 - pit):
            assert term(other).item() == pytest.approx(term(pit).item(), rel=1e-9)


@pytest.mark.parametrize("term", [pce_kde, pce_sort, quantile_entropy])
def test_gradients_are_right(term, generator: torch.Generator) -> None:
    pit = (0.1 + 0.8 * torch.rand(70, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: term(z), (pit,), eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("term", [pce_kde, pce_sort, partial(quantile_entropy, spacing=4)])
def test_descent_finds_the_right_spread(term, generator: torch.Generator) -> None:
    """Alone, each term brings the standard deviation of a centred normal model to that of the outcomes."""
    y, zero = torch.randn(512, generator=generator), torch.zeros(512)
    log_scale = torch.tensor(-1.0, requires_grad=True)
    optimiser = torch.optim.Adam([log_scale], lr=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        term(Gaussian(zero, log_scale.exp().expand(512)).cdf(y)).backward()
        optimiser.step()
    assert log_scale.exp().item() == pytest.approx(1, abs=0.12)


def test_wide_spacings_ask_for_too_narrow_distributions(generator: torch.Generator) -> None:
    y, scales = torch.randn(512, generator=generator), torch.arange(60, 121) / 100
    for spacing, expected in ((64, 0.76), (8, 0.94)):
        terms = [quantile_entropy(torch.special.ndtr(y / scale), spacing=spacing).item() for scale in scales]
        assert scales[terms.index(min(terms))].item() == pytest.approx(expected, abs=0.03)


def test_a_randomised_forecaster_is_calibrated_for_every_single_sample(generator: torch.Generator) -> None:
    """Whatever the outcome, ``N(y - s·Φ⁻¹(r), s²)`` gives it the PIT r; without the draw nothing does."""
    drawn = torch.rand(200, generator=generator, dtype=torch.float64)
    y, scale = torch.full((200,), 3.0, dtype=torch.float64), torch.full((200,), 2.0, dtype=torch.float64)
    forecast = Gaussian(y - scale * torch.special.ndtri(drawn), scale)
    assert individual_calibration_penalty(forecast.cdf(y), drawn).item() == pytest.approx(0, abs=1e-12)
    assert probabilistic_calibration_error(forecast.cdf(y)) < 0.05
    best = min(individual_calibration_penalty(torch.full_like(drawn, p), drawn).item() for p in (0.3, 0.5, 0.7))
    assert best == pytest.approx(0.25, abs=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="below the number of PITs, got 64 for 64; use larger batches"):
        quantile_entropy(torch.rand(64, generator=torch.Generator().manual_seed(0)))
    for term in (pce_kde, pce_sort, quantile_entropy):
        with pytest.raises(ValueError, match="pit must lie in"):
            term(torch.full((100,), 1.5))
    with pytest.raises(ValueError, match="sharpness positive"):
        pce_kde(torch.tensor([0.5]), sharpness=0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        pce_sort(torch.tensor([0.5]), temperature=0)
    for drawn in (torch.tensor([1.2]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match=r"drawn must lie in \[0, 1\]"):
            individual_calibration_penalty(torch.tensor([0.5]), drawn)
