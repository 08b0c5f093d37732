"""h-calibration by an ensemble of temperatures: identities of the map, the descent, hard cases."""

import pytest
import torch

from trueline.calibrate import HCalibration, TemperatureScaling, h_calibration_loss
from trueline.calibrate._h_calibration import descend, mixture
from trueline.contracts import check_calibrator, facts_of


def _draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)
    return labels, logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: HCalibration(members=3, steps=4))


def test_one_member_is_a_temperature(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    fitted = HCalibration(members=1, steps=20).fit(labels, logits=logits)
    scaled = (logits * fitted.inverse_temperatures_).log_softmax(1)
    assert torch.allclose(fitted.transform(logits=logits), scaled, atol=1e-12)


def test_the_mixture_is_one_of_probabilities(generator: torch.Generator) -> None:
    log_probs = torch.randn(5, 3, generator=generator, dtype=torch.float64).log_softmax(1)
    factors, shares = torch.tensor([0.5, 2.0]).double(), torch.tensor([0.25, 0.75]).double()
    expected = 0.25 * (log_probs / 2).softmax(1) + 0.75 * (2 * log_probs).softmax(1)
    assert torch.allclose(mixture(log_probs, factors, shares).exp(), expected, atol=1e-12)
    alone = mixture(log_probs, factors, torch.tensor([1.0, 0.0]).double())
    assert torch.allclose(alone.exp(), (log_probs / 2).softmax(1), atol=1e-12)


def test_the_loss_falls_and_the_shares_are_shares(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    fitted = HCalibration(members=4, steps=60, window=51).fit(labels, logits=logits)
    after = h_calibration_loss(labels, logits=fitted.transform(logits=logits), window=51)
    assert after < 0.7 * h_calibration_loss(labels, logits=logits, window=51)
    before = TemperatureScaling().fit(labels, logits=logits).transform(logits=logits)
    assert after < h_calibration_loss(labels, logits=before, window=51)
    assert fitted.weights_.sum().item() == pytest.approx(1)
    assert (fitted.weights_ >= 0).all()
    assert (fitted.inverse_temperatures_ > 0).all()
    assert not fitted.weights_.requires_grad


def test_a_fit_works_without_gradients_around_it(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    plain = HCalibration(members=2, steps=5).fit(labels, logits=logits)
    with torch.no_grad():
        silent = HCalibration(members=2, steps=5).fit(labels, logits=logits)
    assert torch.equal(plain.weights_, silent.weights_)


def test_descend_finds_the_bottom_and_keeps_the_best() -> None:
    target = torch.tensor([0.3, -0.2], dtype=torch.float64)
    found = descend(lambda x: (x - target).abs().sum(), torch.zeros(2, dtype=torch.float64), 100)
    assert torch.allclose(found, target, atol=5e-3)
    start = target.clone()
    assert torch.equal(descend(lambda x: (x - target).square().sum() + 1, start, 5), start)


def test_impossible_options_are_refused() -> None:
    for name in ("members", "window", "bins", "steps"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            HCalibration(**{name: 0})


def test_the_facts_name_the_paper() -> None:
    assert facts_of(HCalibration).references[0].arxiv == "2506.17968"
    assert HCalibration(members=8).n_parameters(100) == 16
