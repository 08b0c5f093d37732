"""The base class: its errors, its state and its reading of weights."""

import pytest
import torch

from trueline.calibrate import TemperatureScaling


def test_unfitted_use_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match="this TemperatureScaling is not fitted; call fit"):
        TemperatureScaling().transform(logits=torch.zeros(1, 2))


@pytest.mark.parametrize("weight", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_weights_that_cannot_be_weights_are_refused(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="weight must be finite, at least zero and positive somewhere"):
        TemperatureScaling().fit(torch.tensor([0, 1]), logits=torch.eye(2), weight=torch.tensor(weight))


def test_a_failed_fit_keeps_the_earlier_one() -> None:
    scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0})
    with pytest.raises(ValueError, match="finite"):
        scaling.fit(torch.tensor([0]), logits=torch.full((1, 2), float("nan")))
    assert scaling.temperature_ == 2


def test_lists_in_a_state_become_tensors() -> None:
    scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0, "offsets_": [0.5, 1.5]})
    assert scaling.offsets_.dtype == torch.float64
    assert scaling.state() == {"num_classes_": 2, "temperature_": 2.0, "offsets_": [0.5, 1.5]}


def test_results_are_differentiable_in_the_logits() -> None:
    logits = torch.tensor([[1.0, 0.0]], requires_grad=True)
    TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0}).transform(logits=logits)[0, 0].backward()
    expected = 0.5 * (1 - torch.tensor([0.5, 0.0]).softmax(dim=0)[0])
    assert logits.grad[0, 0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_fit_drops_learned_values_it_does_not_learn() -> None:
    scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0, "offsets_": [0.5, 1.5]})
    scaling.fit(torch.tensor([0, 1]), logits=torch.zeros(2, 2))
    assert scaling.state() == {"num_classes_": 2, "temperature_": 1.0}
