"""Cross-fitted nuisances: no sample is seen by its own models, both arms are in every fit, any duck-typed model."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from trueline.calibrate import cross_fit_nuisances


class _Mean:
    """Predicts the mean of what it was fitted to."""

    def fit(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self.value = targets.mean()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.full(len(inputs), self.value)


def _data(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = torch.randn(samples, 2, generator=generator, dtype=torch.float64)
    treated = (torch.rand(samples, generator=generator) < 0.3).long()
    return inputs, inputs[:, 0] + treated * (1 + inputs[:, 1]), treated


def test_means_are_those_of_the_other_folds(generator: torch.Generator) -> None:
    inputs, outcome, treated = _data(generator)
    found = cross_fit_nuisances(inputs, outcome, treated, outcome_model=_Mean(), propensity_model=_Mean(), folds=3)
    for i in range(len(outcome)):
        others = found.fold != found.fold[i]
        assert found.propensity[i].item() == pytest.approx(treated[others].double().mean().item())
        assert found.outcome_treated[i].item() == pytest.approx(outcome[others & (treated == 1)].mean().item())
        assert found.outcome_control[i].item() == pytest.approx(outcome[others & (treated == 0)].mean().item())
    for arm in (0, 1):
        sizes = found.fold[treated == arm].bincount(minlength=3)
        assert sizes.max() - sizes.min() <= 1


def test_linear_outcomes_are_found_exactly_and_models_stay_unfitted(generator: torch.Generator) -> None:
    inputs, outcome, treated = _data(generator)
    regressor, classifier = LinearRegression(), LogisticRegression()
    found = cross_fit_nuisances(
        inputs, outcome, treated.bool(), outcome_model=regressor, propensity_model=classifier, folds=2
    )
    assert torch.allclose(found.outcome_treated, inputs[:, 0] + 1 + inputs[:, 1])
    assert torch.allclose(found.outcome_control, inputs[:, 0])
    mixed = found.propensity * found.outcome_treated + (1 - found.propensity) * found.outcome_control
    assert torch.allclose(found.outcome_mean, mixed)
    assert ((found.propensity > 0) & (found.propensity < 1)).all()
    assert not hasattr(regressor, "coef_")
    assert not hasattr(classifier, "coef_")


def test_binary_outcomes_may_come_from_a_classifier(generator: torch.Generator) -> None:
    inputs, _, treated = _data(generator)
    outcome = (inputs[:, 0] + treated > 0).double()
    models = {"outcome_model": LogisticRegression(), "propensity_model": LogisticRegression()}
    found = cross_fit_nuisances(inputs, outcome, treated, **models)
    assert ((found.outcome_treated >= 0) & (found.outcome_treated <= 1)).all()
    assert found.outcome_treated.mean() > found.outcome_control.mean()
    with pytest.raises(ValueError, match="targets of 0 and 1"):
        cross_fit_nuisances(inputs, torch.arange(60) % 3.0, treated, **models)


def test_the_deal_repeats(generator: torch.Generator) -> None:
    inputs, outcome, treated = _data(generator)
    models = {"outcome_model": _Mean(), "propensity_model": _Mean()}
    state = torch.get_rng_state()
    first, again = (cross_fit_nuisances(inputs, outcome, treated, **models).fold for _ in range(2))
    other = cross_fit_nuisances(inputs, outcome, treated, **models, generator=generator).fold
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    inputs, outcome, treated = _data(generator)
    models = {"outcome_model": _Mean(), "propensity_model": _Mean()}
    with pytest.raises(ValueError, match="smaller arm, 0, got 5"):
        cross_fit_nuisances(inputs, outcome, torch.zeros_like(treated), **models)
    with pytest.raises(TypeError, match="outcome_model must have fit"):
        cross_fit_nuisances(inputs, outcome, treated, outcome_model=3, propensity_model=_Mean())
