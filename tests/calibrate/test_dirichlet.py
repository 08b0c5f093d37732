"""Dirichlet calibration: the densities it is right for, its identities, and the choice of the penalty."""

import pytest
import torch
from torch.distributions import Dirichlet

from trueline.calibrate import DirichletCalibration, MatrixScaling
from trueline.contracts import check_calibrator


def _draw(samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, probabilities that are Dirichlet in each class, and their parameters (class, component)."""
    parameters = torch.tensor([[4.0, 1.0, 2.0], [1.0, 3.0, 1.0], [2.0, 1.5, 5.0]], dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the distribution takes no generator
        labels = torch.randint(3, (samples,))
        return labels, Dirichlet(parameters[labels]).sample(), parameters


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: DirichletCalibration(off_diagonal=0.1, intercept=0.1))


def test_the_choice_does_not_depend_on_the_order_and_weights_are_repetitions() -> None:
    labels, probs, _ = _draw(80)
    make = DirichletCalibration(grid=(1.0, 0.03), folds=2)
    expected = make.fit(labels, probs=probs)
    turned = make.unfitted().fit(labels.flip(0), logits=probs.flip(0).log())
    assert turned.off_diagonal_strength_ == expected.off_diagonal_strength_
    assert torch.allclose(turned.matrix_, expected.matrix_, atol=1e-6)
    times = torch.arange(80) % 3
    repeated = make.unfitted().fit(labels.repeat_interleave(times), probs=probs.repeat_interleave(times, dim=0))
    weighted = make.unfitted().fit(labels, probs=probs, weight=times.double())
    assert torch.allclose(repeated.matrix_, weighted.matrix_, atol=1e-6)


def test_dirichlet_densities_are_recovered() -> None:
    # Log density of class k: Σ_j (α_kj - 1) ln p_j + constant, so differences of rows of W are differences of α.
    labels, probs, parameters = _draw(60_000)
    fitted = DirichletCalibration(off_diagonal=0.0, intercept=0.0).fit(labels, probs=probs)
    normaliser = torch.lgamma(parameters.sum(dim=1)) - torch.lgamma(parameters).sum(dim=1)
    assert torch.allclose(fitted.matrix_ - fitted.matrix_[:1], parameters - parameters[:1], atol=0.2)
    assert torch.allclose(fitted.intercept_ - fitted.intercept_[0], normaliser - normaliser[0], atol=0.4)


def test_it_is_matrix_scaling_of_log_probabilities() -> None:
    labels, probs, _ = _draw(300)
    for strengths in ({"off_diagonal": 0.0, "intercept": 0.0}, {"off_diagonal": 0.3, "intercept": 0.02}):
        one = DirichletCalibration(**strengths).fit(labels, probs=probs)
        other = MatrixScaling(**strengths).fit(labels, logits=probs.log())
        assert torch.allclose(one.transform(probs=probs), other.transform(probs=probs), atol=1e-9)


def test_little_data_choose_a_strong_penalty_and_much_data_a_weak_one() -> None:
    small, large = (
        DirichletCalibration(grid=(1e3, 1e-3)).fit(*_draw(samples)[:1], probs=_draw(samples)[1])
        for samples in (30, 3000)
    )
    assert (small.off_diagonal_strength_, small.intercept_strength_) == (1e3, 1e3)
    assert (large.off_diagonal_strength_, large.intercept_strength_) == (1e-3, 1e-3)
    labels, probs, _ = _draw(3000)
    same = DirichletCalibration(off_diagonal=1e-3, intercept=1e-3).fit(labels, probs=probs)
    assert torch.equal(large.matrix_, same.matrix_)


def test_a_strength_that_is_given_is_used() -> None:
    labels, probs, _ = _draw(100)
    fitted = DirichletCalibration(off_diagonal=0.25, grid=(10.0, 0.1)).fit(labels, probs=probs)
    assert fitted.off_diagonal_strength_ == 0.25
    assert fitted.intercept_strength_ in (10.0, 0.1)


def test_the_search_stops_after_two_values_without_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fake(candidate: MatrixScaling, log_probs: torch.Tensor, labels: torch.Tensor, folds) -> tuple:
        tried.append(candidate.off_diagonal)
        loss = {100.0: 2.0, 10.0: 1.0}.get(candidate.off_diagonal, 3.0)
        return torch.full_like(folds.weight, loss), folds.weight > 0

    monkeypatch.setattr("trueline.calibrate._dirichlet.held_out_scores", fake)
    labels, probs, _ = _draw(60)
    grid = (0.01, 100.0, 10.0, 1.0, 0.1)  # in any order
    assert DirichletCalibration(grid=grid).fit(labels, probs=probs).off_diagonal_strength_ == 10
    assert tried == [100.0, 10.0, 1.0, 0.1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": ()}, "at least one"),
        ({"grid": (-1.0,)}, "every value of grid"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"off_diagonal": -1.0}, "off_diagonal"),
        ({"intercept": -1.0}, "intercept"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirichletCalibration(**options)
