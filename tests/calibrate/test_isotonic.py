"""Isotonic recalibration: facts of the fit, hard cases, the slow twin, scikit-learn and real predictions."""

import math

import numpy as np
import pytest
import torch
from oracles import binning_maps as oracle
from sklearn.isotonic import IsotonicRegression

from trueline.calibrate import IsotonicCalibration
from trueline.contracts import check_calibrator, facts_of
from trueline.measure import accuracy, brier, calibration_error


def _draw(generator: torch.Generator, samples: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds with ties, and labels that are less certain than they say."""
    odds = (2 * torch.randn(samples, generator=generator)).round(decimals=1).double()
    labels = torch.bernoulli((odds / 2).sigmoid(), generator=generator).long()
    return labels, odds


def test_it_keeps_the_contract() -> None:
    check_calibrator(IsotonicCalibration)
    check_calibrator(lambda: IsotonicCalibration(laplace=0))


def test_the_mean_is_kept_and_a_second_fit_changes_nothing(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    once = IsotonicCalibration(laplace=0).fit(labels, logits=odds).predict_proba(logits=odds)[:, 1]
    assert once.mean().item() == pytest.approx(labels.double().mean().item(), abs=1e-12)
    twice = IsotonicCalibration(laplace=0).fit(labels, probs=once).predict_proba(probs=once)[:, 1]
    assert torch.allclose(once, twice, atol=1e-12)


def test_it_rises_and_leaves_what_is_isotonic() -> None:
    # Each score is right as often as it says: the map is the identity there, and straight in log-odds between.
    probs = torch.tensor([0.2, 0.8]).repeat_interleave(10).double()
    labels = torch.tensor([1, 0, 0, 0, 0, 1, 1, 1, 1, 0]).repeat_interleave(2)
    fitted = IsotonicCalibration(laplace=0).fit(labels, probs=probs)
    asked = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64)
    expected = torch.tensor([0.2, 0.2, 0.5, 0.8, 0.8], dtype=torch.float64)
    assert torch.allclose(fitted.predict_proba(probs=asked)[:, 1], expected, atol=1e-7)


def test_it_is_scikit_learns_regression_at_and_between_the_scores(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    weight = torch.rand(len(odds), generator=generator, dtype=torch.float64)
    asked = torch.linspace(-9, 9, 101).double()
    asked = torch.cat([asked, odds])
    for w in (None, weight):
        fitted = IsotonicCalibration(laplace=0).fit(labels, logits=odds, weight=w)
        peer = IsotonicRegression(out_of_bounds="clip", increasing=True)
        # Ours compares scores in single precision; so does the peer here.
        peer.fit(odds.float().double().numpy(), labels.numpy(), sample_weight=None if w is None else w.numpy())
        expected = torch.from_numpy(peer.predict(asked.float().double().numpy()))
        assert torch.allclose(fitted.predict_proba(logits=asked)[:, 1], expected, atol=1e-9)


def test_the_slow_twin_agrees_with_zero_weights(generator: torch.Generator) -> None:
    labels, odds = _draw(generator, 30)
    weight = torch.randint(0, 3, (30,), generator=generator).double()
    fitted = IsotonicCalibration(laplace=0).fit(labels, logits=odds, weight=weight)
    asked = torch.linspace(-5, 5, 21).double()
    exact = odds.float().double().tolist()
    expected = [oracle.isotonic_at(exact, labels.tolist(), s, weight.tolist()) for s in asked.float().tolist()]
    assert fitted.predict_proba(logits=asked)[:, 1].tolist() == pytest.approx(expected, abs=1e-9)


def test_many_classes_are_mapped_one_by_one_and_normalised(generator: torch.Generator) -> None:
    logits = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    columns = []
    for k in range(3):
        odds = logits[:, k] - logits[:, [j for j in range(3) if j != k]].logsumexp(1)
        column = IsotonicCalibration(laplace=0).fit((labels == k).long(), logits=odds)
        columns.append(column.predict_proba(logits=odds)[:, 1])
    expected = torch.stack(columns, dim=1)
    expected = expected / expected.sum(1, keepdim=True)
    got = IsotonicCalibration(laplace=0).fit(labels, logits=logits).predict_proba(logits=logits)
    assert torch.allclose(got, expected, atol=1e-12)


def test_long_data_are_fitted_run_by_run(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (60,), generator=generator)
    whole = IsotonicCalibration().fit(labels, logits=logits).transform(logits=logits)
    monkeypatch.setattr("trueline.calibrate._score_maps._ENTRIES", 120)
    monkeypatch.setattr("trueline.calibrate._score_maps._COLUMNS", 2)
    assert torch.equal(IsotonicCalibration().fit(labels, logits=logits).transform(logits=logits), whole)


def test_laplace_mixes_in_the_uniform_distribution() -> None:
    labels, odds = torch.tensor([0, 0, 1]), torch.tensor([-1.0, 0.0, 1.0])
    labels, many = labels.repeat(7), odds.repeat(7)
    probs = IsotonicCalibration(laplace=11).fit(labels, logits=many).predict_proba(logits=odds)[:, 1]
    assert probs.tolist() == pytest.approx([0.25, 0.25, 0.75])  # 11/(21 + 1) of one half
    all_of_it = IsotonicCalibration(laplace=100).fit(labels, logits=many).predict_proba(logits=odds)[:, 1]
    assert all_of_it.tolist() == pytest.approx([0.5] * 3)


def test_without_laplace_a_zero_is_the_smallest_normal_number() -> None:
    labels, odds = torch.tensor([0, 0, 1]).repeat(7), torch.tensor([-1.0, 0.0, 1.0]).double().repeat(7)
    lowest = IsotonicCalibration(laplace=0).fit(labels, logits=odds).transform(logits=odds).min().item()
    assert lowest == math.log(torch.finfo(torch.float64).tiny)


def test_gradients_reach_the_input_and_are_finite(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    fitted = IsotonicCalibration(laplace=0).fit(labels, logits=odds)
    asked = torch.linspace(-9, 9, 50).double().requires_grad_()
    (slope,) = torch.autograd.grad(fitted.predict_proba(logits=asked)[:, 1].sum(), [asked])
    assert slope.isfinite().all()
    assert (slope >= 0).all()
    assert slope.max() > 0


@pytest.mark.parametrize("laplace", [-1.0, math.nan, math.inf])
def test_an_impossible_laplace_is_refused(laplace: float) -> None:
    with pytest.raises(ValueError, match="laplace must be finite and at least 0"):
        IsotonicCalibration(laplace=laplace)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(IsotonicCalibration).references[0].year == 2002
    assert IsotonicCalibration().n_parameters(10) is None


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cifar10-wrn16x4-probs", (0.9184, 0.2853, 0.1197, 0.0129, 6.61)),
        ("cifar100-densenet-probs", (0.7516, 1.326, 0.3463, 0.0490, 2.43)),
    ],
)
def test_real_predictions_give_the_independent_scores(shared_data, name: str, published: tuple[float, ...]) -> None:
    with np.load(shared_data / "predictions" / f"{name}.npz") as file:
        labels, probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double()
    got = IsotonicCalibration(laplace=0).fit(labels[:5000], probs=probs[:5000]).predict_proba(probs=probs[5000:])
    labels = labels[5000:]
    assert accuracy(labels, probs=got).mean().item() == pytest.approx(published[0], abs=5.1e-5)
    nll = -got.gather(1, labels[:, None]).clamp_min(1e-12).log().mean().item()
    assert nll == pytest.approx(published[1], abs=6e-4)
    assert brier(labels, probs=got).mean().item() == pytest.approx(published[2], abs=5.1e-5)
    assert float(calibration_error(labels, probs=got)) == pytest.approx(published[3], abs=2e-4)
    assert 1000 * float(calibration_error(labels, probs=got, classwise=True)) == pytest.approx(published[4], abs=6e-3)
