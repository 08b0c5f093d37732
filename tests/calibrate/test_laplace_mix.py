"""The Laplace mix: its formula, its bound on the log loss, weights, and what it takes over from the wrapped map."""

import math

import pytest
import torch

from trueline.calibrate import Identity, LaplaceMix, StructuredVectorScaling, TemperatureScaling, VectorScaling
from trueline.contracts import check_calibrator


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: LaplaceMix(TemperatureScaling()))


@pytest.mark.parametrize("c", [0.0, 0.3, 1.0])
def test_the_formula(generator: torch.Generator, c: float) -> None:
    logits = 3 * torch.randn(49, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(49) % 4
    mix = LaplaceMix(Identity(), c=c).fit(labels, logits=logits)
    assert mix.share_ == c / 50
    expected = (1 - c / 50) * logits.softmax(dim=1) + c / 50 / 4
    assert torch.allclose(mix.predict_proba(logits=logits), expected, rtol=1e-13)


def test_no_class_is_impossible() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]]).expand(9, 3)
    mix = LaplaceMix(Identity()).fit(torch.zeros(9, dtype=torch.int64), logits=logits)
    assert mix.transform(logits=logits).min().item() == pytest.approx(math.log(1 / 10 / 3))


def test_weights_count_samples() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    mix = LaplaceMix(Identity()).fit(torch.tensor([0, 1]), logits=logits, weight=torch.tensor([3.0, 4.0]))
    assert mix.share_ == 1 / 8


def test_the_wrapped_map_is_fitted_and_the_option_is_not(generator: torch.Generator) -> None:
    logits = 3 * torch.randn(100, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / 2).softmax(dim=1), 1, generator=generator).squeeze(1)
    inner = TemperatureScaling()
    mix = LaplaceMix(inner).fit(labels, logits=logits)
    assert not inner._learned()
    assert mix.calibrator_.temperature_ == TemperatureScaling().fit(labels, logits=logits).temperature_


def test_facts_come_from_the_wrapped_map() -> None:
    assert LaplaceMix(TemperatureScaling()).preserves_ranking
    assert not LaplaceMix(VectorScaling()).preserves_ranking
    assert LaplaceMix(StructuredVectorScaling()).penalised
    assert not LaplaceMix(TemperatureScaling()).penalised


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="c must lie in"):
        LaplaceMix(Identity(), c=1.5)
    with pytest.raises(TypeError):
        LaplaceMix(Identity)


def test_samples_that_weigh_nothing_leave_the_uniform_distribution() -> None:
    logits = torch.tensor([[3.0, 0.0]])
    weight = torch.tensor([1e-30], dtype=torch.float64)
    with pytest.warns(UserWarning, match="sum to 1e-30, and LaplaceMix reads weights as repetitions"):
        mix = LaplaceMix(Identity()).fit(torch.tensor([0]), logits=logits, weight=weight)
    assert mix.predict_proba(logits=logits).tolist() == [[0.5, 0.5]]
