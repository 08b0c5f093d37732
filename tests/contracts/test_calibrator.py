"""The base class: its errors, its state and its reading of weights."""

import pytest
import torch

from trueline.calibrate import (
    HCalibration,
    IsotonicCalibration,
    MatrixScaling,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from trueline.contracts import Calibrator


def test_unfitted_use_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match="this TemperatureScaling is not fitted; call fit"):
        TemperatureScaling().transform(logits=torch.zeros(1, 2))


@pytest.mark.parametrize("weight", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_weights_that_cannot_be_weights_are_refused(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="weight must be finite, at least zero and positive somewhere"):
        TemperatureScaling().fit(torch.tensor([0, 1]), logits=torch.eye(2), weight=torch.tensor(weight))


def test_weights_whose_sum_overflows_are_refused() -> None:
    labels, logits = torch.tensor([1, 0, 1, 1]), torch.tensor([1.0, -1.0, 2.0, -2.0])
    with pytest.raises(ValueError, match="finite sum"):
        TemperatureScaling().fit(labels, logits=logits, weight=torch.full((4,), 1e308, dtype=torch.float64))
    heavy = TemperatureScaling().fit(labels, logits=logits, weight=torch.full((4,), 3e38))  # overflows in single
    assert heavy.temperature_ == pytest.approx(TemperatureScaling().fit(labels, logits=logits).temperature_)


def test_a_failed_fit_keeps_the_earlier_one() -> None:
    scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0})
    with pytest.raises(ValueError, match="finite"):
        scaling.fit(torch.tensor([0]), logits=torch.full((1, 2), float("nan")))
    assert scaling.temperature_ == 2


def test_a_fit_that_fails_half_way_leaves_the_object_as_it_was() -> None:
    labels, logits = torch.arange(4) % 2, torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0], [1.0, 0.0]])
    scaling = MatrixScaling()
    with pytest.raises(ValueError, match="refuses"):
        scaling.fit(labels, logits=logits)
    with pytest.raises(RuntimeError, match="not fitted"):
        scaling.transform(logits=logits)
    scaling.fit(labels.repeat(30), logits=logits.repeat(30, 1))
    before = scaling.transform(logits=logits)
    with pytest.raises(ValueError, match="refuses"):
        scaling.fit(labels, logits=logits)
    assert torch.equal(scaling.transform(logits=logits), before)


def test_lists_in_a_state_become_tensors() -> None:
    state = {"num_classes_": 2, "slope_": [2.0, 1.0], "intercept_": [0.5, 1.5]}
    scaling = VectorScaling().load_state(state)
    assert scaling.slope_.dtype == torch.float64
    assert scaling.state() == state


def test_results_are_differentiable_in_the_logits() -> None:
    logits = torch.tensor([[1.0, 0.0]], requires_grad=True)
    TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0}).transform(logits=logits)[0, 0].backward()
    expected = 0.5 * (1 - torch.tensor([0.5, 0.0]).softmax(dim=0)[0])
    assert logits.grad[0, 0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_fit_drops_learned_values_it_does_not_learn() -> None:
    scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0})
    scaling.offsets_ = torch.tensor([0.5, 1.5])
    scaling.fit(torch.tensor([0, 1]), logits=torch.zeros(2, 2))
    assert scaling.state() == {"num_classes_": 2, "temperature_": 1.0}


@pytest.mark.parametrize("make", [VectorScaling, PlattScaling, lambda: HCalibration(members=2, steps=2)])
def test_what_is_learned_in_inference_mode_can_be_differentiated_through_later(make) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    labels = (logits[:, 1] - logits[:, 0] + torch.randn(60, generator=generator) > 0).long()
    expected = make().fit(labels, logits=logits, weight=torch.ones(60)).transform(logits=logits)
    with torch.inference_mode():
        fitted = make().fit(labels.clone(), logits=logits.clone(), weight=torch.ones(60))
        assert torch.equal(fitted.transform(logits=logits), expected)
    given = logits.clone().requires_grad_()
    fitted.transform(logits=given)[:, 0].sum().backward()
    assert given.grad.abs().sum() > 0


@pytest.mark.parametrize("method", [TemperatureScaling(), PlattScaling(), IsotonicCalibration()])
def test_no_rows_map_to_no_rows_but_cannot_be_fitted(method: Calibrator) -> None:
    """An empty batch is normal where a service answers; samples to learn from there must be."""
    labels, logits = torch.tensor([0, 1, 0, 1, 1, 0] * 20), torch.tensor([-1.0, 2.0, 0.5, 1.0, -0.5, 0.25] * 20)
    fitted = method.fit(labels, logits=logits)
    for empty in (torch.empty(0), torch.empty(0, 1), torch.empty(0, 2)):
        for mapped in (fitted.predict_proba(probs=empty), fitted.transform(logits=empty.half())):
            assert mapped.shape == (0, 2)
    assert fitted.predict_proba(probs=torch.empty(0)).dtype == torch.float32
    assert fitted.transform(logits=torch.empty(0, 2).half()).dtype == torch.float16
    with pytest.raises(ValueError, match="was fitted to 2 classes, got predictions of 3"):
        fitted.transform(logits=torch.empty(0, 3))
    with pytest.raises(ValueError, match=r"\(N, C\) with N >= 0, .* got \(0, 0\)"):
        fitted.transform(logits=torch.empty(0, 0))
    with pytest.raises(ValueError, match="N >= 1"):
        method.fit(labels[:0], logits=logits[:0])
