"""Temperature scaling: closed forms, equivariances, end cases, the slow twin and published predictions."""

import math

import numpy as np
import pytest
import torch
from oracles import calibration as oracle
from sklearn.linear_model import LogisticRegression

from trueline.calibrate import TemperatureScaling
from trueline.contracts import check_calibrator, facts_of
from trueline.measure import log_loss
from trueline.numerics import newton_root


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / 1.7).softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(TemperatureScaling)


def test_equal_margins_have_a_closed_form() -> None:
    # With margin m everywhere and a share a right: 1/(1 + (C-1)exp(-m/T)) = a.
    margin, right, wrong, classes = 6.0, 7, 3, 5
    logits = torch.zeros(right + wrong, classes)
    logits[:, 0] = margin
    labels = torch.tensor([0] * right + [1] * wrong)
    share = right / (right + wrong)
    expected = margin / math.log((classes - 1) * share / (1 - share))
    assert TemperatureScaling().fit(labels, logits=logits).temperature_ == pytest.approx(expected, rel=1e-9)


def test_the_slow_twin_finds_the_same_temperature(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 60)
    weight = torch.rand(60, generator=generator, dtype=torch.float64)
    for w in (None, weight):
        expected = oracle.best_temperature(logits.tolist(), labels.tolist(), None if w is None else w.tolist())
        assert TemperatureScaling().fit(labels, logits=logits, weight=w).temperature_ == pytest.approx(
            expected, rel=1e-5
        )


def test_two_classes_are_platt_scaling_without_offset(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 500, 2)
    difference = (logits[:, 1] - logits[:, 0])[:, None].numpy()
    platt = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12).fit(difference, labels.numpy())
    scaling = TemperatureScaling().fit(labels, logits=logits)
    assert 1 / scaling.temperature_ == pytest.approx(platt.coef_[0, 0], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 0.3, 50.0])
def test_scaling_the_logits_scales_the_temperature(generator: torch.Generator, scale: float) -> None:
    labels, logits = _draw(generator)
    reference = TemperatureScaling().fit(labels, logits=logits).temperature_
    assert TemperatureScaling().fit(labels, logits=scale * logits).temperature_ == pytest.approx(
        scale * reference, rel=1e-8
    )


def test_a_fitted_model_needs_no_further_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    once = TemperatureScaling().fit(labels, logits=logits)
    again = TemperatureScaling().fit(labels, logits=once.transform(logits=logits))
    assert again.temperature_ == pytest.approx(1, rel=1e-9)


def test_no_other_temperature_has_a_smaller_loss(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    best = TemperatureScaling().fit(labels, logits=logits)
    loss = log_loss(labels, logits=logits / best.temperature_).mean()
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert log_loss(labels, logits=logits / (factor * best.temperature_)).mean() > loss


def test_predictions_that_are_all_right_warn_and_stay_at_the_bound() -> None:
    with pytest.warns(UserWarning, match="every label has the largest logit .* left at its bound 1.13e-07"):
        scaling = TemperatureScaling().fit(torch.tensor([0, 1]), logits=torch.eye(2))
    assert scaling.temperature_ == pytest.approx(math.exp(-16))
    assert scaling.predict_proba(logits=torch.eye(2)).tolist() == [[1, 0], [0, 1]]


def test_predictions_that_are_all_wrong_warn_and_become_uniform() -> None:
    with pytest.warns(UserWarning, match="nothing about the labels, or the opposite.* 8.89e\\+06"):
        scaling = TemperatureScaling().fit(torch.tensor([1, 0]), logits=torch.eye(2))
    assert torch.allclose(scaling.predict_proba(logits=torch.eye(2)), torch.full((2, 2), 0.5), atol=1e-6)


def test_labels_of_one_class_are_said_to_be_so() -> None:
    message = "no minimum: every label is class 1, and the logits say nothing"
    with pytest.warns(UserWarning, match=message):
        TemperatureScaling().fit(torch.tensor([1, 1]), logits=torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    with pytest.warns(UserWarning, match=message):
        TemperatureScaling().fit(torch.tensor([0, 1]), logits=torch.eye(2).flip(1), weight=torch.tensor([0.0, 1.0]))


def test_constant_logits_leave_the_temperature_at_one() -> None:
    assert TemperatureScaling().fit(torch.tensor([0, 1, 1]), logits=torch.full((3, 2), 7.0)).temperature_ == 1


def test_saturated_probabilities_are_repaired() -> None:
    probs = torch.tensor([[1.0, 0.0]] * 9 + [[1.0, 0.0]])
    labels = torch.tensor([0] * 9 + [1])
    scaling = TemperatureScaling().fit(labels, probs=probs)
    assert torch.allclose(scaling.predict_proba(probs=probs)[:, 0], torch.full((10,), 0.9), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_come_in_the_dtype_of_the_input(generator: torch.Generator, dtype: torch.dtype) -> None:
    labels, logits = _draw(generator)
    scaling = TemperatureScaling().fit(labels, logits=logits.to(dtype))
    assert isinstance(scaling.temperature_, float)
    assert scaling.transform(logits=logits.to(dtype)).dtype == dtype
    assert scaling.predict_proba(logits=logits.to(dtype)).dtype == dtype


def test_the_facts_name_the_paper() -> None:
    assert facts_of(TemperatureScaling).references[0].arxiv == "1706.04599"
    assert TemperatureScaling().n_parameters(1000) == 1


@pytest.mark.parametrize(
    ("name", "temperature"), [("cifar10-wrn16x4-probs", 2.0592), ("cifar100-densenet-probs", 2.1209)]
)
def test_real_probabilities_give_the_independent_temperature(shared_data, name: str, temperature: float) -> None:
    with np.load(shared_data / "predictions" / f"{name}.npz") as file:
        labels, probs = torch.tensor(file["labels"][:5000]), torch.tensor(file["probs"][:5000])
    assert TemperatureScaling().fit(labels, probs=probs).temperature_ == pytest.approx(temperature, abs=5.1e-5)
    logits = probs.double().clamp_min(1e-38).log()
    assert TemperatureScaling().fit(labels, logits=logits).temperature_ == pytest.approx(temperature, abs=5.1e-5)


def test_real_logits_give_the_independent_temperature(shared_data) -> None:
    with np.load(shared_data / "predictions" / "cifar10-resnet50-logits.npz") as file:
        labels, logits = torch.tensor(file["val_labels"]), torch.tensor(file["val_logits"])
    assert TemperatureScaling().fit(labels, logits=logits).temperature_ == pytest.approx(1.062584, abs=5.1e-7)


def test_a_fit_takes_few_passes(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton steps need the right derivative: with a wrong one bisection would take forty."""
    passes = []

    def counting(function, *arguments, **options):
        def counted(point: float) -> tuple[float, float]:
            passes.append(point)
            return function(point)

        return newton_root(counted, *arguments, **options)

    monkeypatch.setattr("trueline.calibrate._temperature.newton_root", counting)
    for scale in (0.1, 1.0, 30.0):
        passes.clear()
        labels, logits = _draw(generator)
        TemperatureScaling().fit(labels, logits=scale * logits)
        assert len(passes) <= 12
