"""The posterior of the calibration error: Beta quantiles, closed forms, coverage under the prior, and refusals."""

import json
import math

import pytest
import torch
from scipy import stats

from trueline.measure import calibration_error
from trueline.measure._calibration_posterior import _gamma, calibration_posterior


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 2.5, 400.0])
def test_gamma_draws_follow_their_distribution(generator: torch.Generator, shape: float) -> None:
    drawn = _gamma(torch.full((200_000, 1), shape, dtype=torch.float64), generator).squeeze(1)
    assert (drawn > 0).all()
    assert stats.kstest(drawn.numpy(), stats.gamma(shape).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("hits", "prior"), [(0, (0.5, 0.5)), (13, (0.5, 0.5)), (40, (2.0, 3.0))])
def test_one_bin_has_the_quantiles_of_a_beta_distribution(hits: int, prior: tuple[float, float]) -> None:
    labels, probs = (torch.arange(40) < hits).long(), torch.full((40,), 0.7, dtype=torch.float64)
    found = calibration_posterior(labels, probs=probs, event="positive", bins=1, prior=prior, draws=20_000)
    exact = stats.beta(prior[0] + hits, prior[1] + 40 - hits)
    assert found.mean.item() == pytest.approx(exact.mean())
    assert found.low.item() == pytest.approx(exact.ppf(0.025), abs=0.006)
    assert found.high.item() == pytest.approx(exact.ppf(0.975), abs=0.006)
    mean = exact.expect(lambda theta: abs(theta - 0.7))
    assert found.error.value == pytest.approx(mean, abs=0.003)
    assert found.plug_in == pytest.approx(abs(hits / 40 - 0.7))


def test_the_plug_in_is_the_calibration_error(generator: torch.Generator) -> None:
    logits = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (300,), generator=generator)
    weight = torch.rand(300, generator=generator, dtype=torch.float64)
    for binning in ("width", "mass"):
        for w in (None, weight):
            found = calibration_posterior(labels, logits=logits, weight=w, binning=binning, draws=50)
            expected = calibration_error(labels, logits=logits, weight=w, binning=binning).item()
            assert found.plug_in == pytest.approx(expected, abs=1e-12)


def test_intervals_cover_what_the_prior_draws(generator: torch.Generator) -> None:
    covered = []
    probs = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).repeat_interleave(30)
    for _ in range(100):
        truth = torch.rand(3, generator=generator, dtype=torch.float64)  # the prior Beta(1, 1)
        labels = (torch.rand(90, generator=generator) < truth.repeat_interleave(30)).long()
        found = calibration_posterior(
            labels, probs=probs, event="positive", prior=(1.0, 1.0), draws=200, generator=generator
        )
        error = (truth - torch.tensor([0.2, 0.5, 0.9])).abs().mean().item()
        covered.append(found.error.low <= error <= found.error.high)
    assert sum(covered) / 100 == pytest.approx(0.95, abs=0.065)  # three standard errors


def test_an_empty_bin_knows_the_prior() -> None:
    found = calibration_posterior(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), bins=2, draws=4000)
    assert found.mean[0] == 0.5
    assert found.low[0].item() == pytest.approx(stats.beta(0.5, 0.5).ppf(0.025), abs=0.002)
    assert found.confidence[0].isnan()
    assert math.isfinite(found.error.value)


def test_results_repeat_and_the_record_draws_and_writes(generator: torch.Generator) -> None:
    logits = torch.randn(60, 3, generator=generator)
    labels, before = torch.randint(0, 3, (60,), generator=generator), torch.get_rng_state()
    first = calibration_posterior(labels, logits=logits, draws=50)
    assert first.to_dict() == calibration_posterior(labels, logits=logits, draws=50).to_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert "layer" in first.plot().to_dict()
    assert "Beta(0.5, 0.5)" in str(first)
    json.dumps(first.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": (0.0, 1.0)}, "prior must be two finite numbers above zero"),
        ({"level": 1.0}, "level must lie strictly between 0 and 1"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"event": "classwise"}, "event"),
        ({"binning": "pava"}, "binning"),
        ({"weight": torch.zeros(1)}, "weight must be finite, at least zero and positive somewhere"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        calibration_posterior(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), **options)


def test_the_zero_of_a_calibrated_model_is_outside_as_the_docstring_warns(generator: torch.Generator) -> None:
    scores = torch.rand(300, generator=generator, dtype=torch.float64)
    labels = torch.bernoulli(scores, generator=generator).long()
    found = calibration_posterior(labels, probs=scores, event="positive", draws=200)
    assert found.error.low > 0
    assert "never inside" in calibration_posterior.__doc__
