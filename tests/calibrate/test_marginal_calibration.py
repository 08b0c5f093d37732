"""Division by a prior, marginal, contextual and of the empty input: identities, the slow twin, biased classes."""

import math
from pathlib import Path

import pytest
import torch
from oracles import prompts as oracle

import trueline
from trueline.calibrate import ContextualCalibration, MarginalCalibration, PMICalibration
from trueline.contracts import facts_of

every = pytest.mark.parametrize("kind", [MarginalCalibration, ContextualCalibration, PMICalibration])


def _draw(generator: torch.Generator, samples: int = 30, classes: int = 4) -> torch.Tensor:
    return (2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)).softmax(dim=1)


def test_a_uniform_marginal_changes_nothing() -> None:
    probs = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]], dtype=torch.float64)
    assert torch.allclose(MarginalCalibration().fit(probs=probs).predict_proba(probs=probs), probs)


def test_one_input_becomes_uniform(generator: torch.Generator) -> None:
    probs = _draw(generator, 1)
    calibrated = MarginalCalibration().fit(probs=probs).predict_proba(probs=probs)
    assert torch.allclose(calibrated, torch.full((1, 4), 0.25, dtype=torch.float64))


def test_factors_of_the_classes_cancel(generator: torch.Generator) -> None:
    """Where one input is the reference, factors c(y) leave the result alone, row normalisation included."""
    probs = _draw(generator, 20, 3)
    reference = PMICalibration().fit(probs=probs[:1])
    factors = torch.tensor([3.0, 0.2, 1.0], dtype=torch.float64).log()
    moved = PMICalibration().fit(logits=probs[:1].log() + factors)
    assert torch.allclose(
        moved.transform(logits=probs.log() + factors), reference.transform(probs=probs), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("normalise", ["sum", "softmax"])
@pytest.mark.parametrize("kind", [MarginalCalibration, ContextualCalibration])
def test_the_slow_twin_gives_the_same(kind, normalise: str, generator: torch.Generator) -> None:
    probs, fitted = _draw(generator), _draw(generator, 3)
    expected = oracle.divided(probs.tolist(), oracle.mean(fitted.tolist()), normalise)
    calibration = kind(normalise=normalise).fit(probs=fitted)
    assert torch.allclose(calibration.predict_proba(probs=probs), torch.tensor(expected, dtype=torch.float64))
    assert torch.allclose(calibration.transform(logits=probs.log()).exp(), torch.tensor(expected, dtype=torch.float64))


def test_pmi_is_contextual_calibration_with_one_empty_input(generator: torch.Generator) -> None:
    probs, empty = _draw(generator), _draw(generator, 1)
    first = PMICalibration().fit(logits=empty.log() - 7)  # unnormalised, as a language model gives them
    second = ContextualCalibration().fit(probs=empty)
    assert torch.allclose(first.transform(logits=probs.log() + 3), second.transform(probs=probs))
    with pytest.raises(ValueError, match="one prediction for the empty input, got 30 rows"):
        PMICalibration().fit(probs=probs)


def test_weights_are_repetitions(generator: torch.Generator) -> None:
    probs = _draw(generator)
    times = torch.arange(30) % 3
    first = MarginalCalibration().fit(probs=probs.repeat_interleave(times, dim=0))
    second = MarginalCalibration().fit(probs=probs, weight=times.double())
    assert torch.allclose(first.log_reference_, second.log_reference_)


def test_accuracy_lost_to_a_biased_prior_comes_back(generator: torch.Generator) -> None:
    """Balanced classes, probabilities multiplied by 4, 2, 1 and 1/2: more than half of the lost accuracy returns."""
    labels = torch.arange(2000) % 4
    honest = 3 * torch.nn.functional.one_hot(labels, 4) + torch.randn(2000, 4, generator=generator) * 1.5
    biased = honest + torch.tensor([4.0, 2.0, 1.0, 0.5]).log()
    repaired = MarginalCalibration().fit(logits=biased).transform(logits=biased)
    shares = [(values.argmax(dim=1) == labels).double().mean().item() for values in (honest, biased, repaired)]
    error = math.sqrt(shares[0] * (1 - shares[0]) / 2000)
    assert shares[1] < shares[0] - 6 * error
    assert shares[2] > (shares[0] + shares[1]) / 2


@every
def test_two_classes_in_one_column_saturation_and_saving(kind, tmp_path: Path) -> None:
    column = torch.tensor([0.0, 1.0, 0.3])
    both = torch.stack([1 - column, column], dim=1)
    fitted = kind().fit(probs=column[2:])
    result = fitted.predict_proba(probs=column)
    assert torch.equal(result, kind().fit(probs=both[2:]).predict_proba(probs=both))
    assert result.isfinite().all()
    assert torch.allclose(result.sum(dim=1), torch.ones(3))
    loaded = trueline.load(fitted.save(tmp_path / "prior.safetensors"))
    assert repr(loaded) == repr(fitted)
    assert torch.equal(loaded.predict_proba(probs=column), result)


def test_a_class_without_any_probability_stays_finite() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    result = MarginalCalibration().fit(probs=probs).predict_proba(probs=probs)
    assert result.isfinite().all()
    assert torch.allclose(result.sum(dim=1), torch.ones(2))


@every
def test_bad_input_is_refused(kind, generator: torch.Generator) -> None:
    probs = _draw(generator)
    with pytest.raises(RuntimeError, match="not fitted"):
        kind().transform(probs=probs)
    with pytest.raises(ValueError, match="was fitted to 4 classes, got predictions of 3"):
        kind().fit(probs=probs[:1]).transform(logits=probs[:, :3])
    with pytest.raises(ValueError, match=r"learned is not; call .to\('cpu'\) first"):
        kind().fit(probs=probs[:1]).to("meta").transform(probs=probs)
    with pytest.raises(ValueError, match="must sum to 1"):
        kind().fit(probs=probs[:1] / 2)
    with pytest.raises((ValueError, TypeError)):
        kind(normalise="mean")


def test_the_papers_are_named() -> None:
    found = [
        facts_of(kind).references[0].arxiv for kind in (MarginalCalibration, ContextualCalibration, PMICalibration)
    ]
    assert found == ["2305.14877", "2102.09690", "2104.08315"]
