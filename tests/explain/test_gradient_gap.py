"""The mean squared difference of two networks' gradients, against closed forms and a slow twin."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.explain._gradient_gap import gradient_gap
from trueline.models import MLP
from trueline.steer import steer


class Unit(nn.Module):
    """One activation on one number, as the log-odds of class 1 of two."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(x)


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_of_linear_models_it_is_the_distance_of_their_weights() -> None:
    first, second, x = nn.Linear(5, 3).double(), nn.Linear(5, 3).double(), doubles(8, 5)
    found = gradient_gap(first, second, x)
    apart = (first.weight - second.weight).detach().square().sum(dim=1)
    torch.testing.assert_close(found.gap, apart[found.target])
    torch.testing.assert_close(found.squared_norm, first.weight.detach().square().sum(dim=1)[found.target])
    assert torch.equal(found.target, first(x).argmax(dim=1))
    assert found.relative == pytest.approx((found.gap.sum() / found.squared_norm.sum()).item())


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 10.0])
def test_a_smoothed_unit_has_the_integral_of_the_logistic_function(sharpness: float) -> None:
    """``∫ (1[x > 0] - σ(bx))² dx = (2 ln 2 - 1) / b``, here as a mean over [-a, a]."""
    reach = 40 / sharpness
    x = torch.linspace(-reach, reach, 4000, dtype=torch.float64)[:, None]
    relu, smooth = Unit(nn.ReLU()), Unit(nn.Softplus(beta=sharpness, threshold=50))
    found = gradient_gap(relu, smooth, x)
    step = (x > 0).double().squeeze(1)
    torch.testing.assert_close(found.gap, (step - torch.sigmoid(sharpness * x.squeeze(1))).square())
    assert found.mean.value * 2 * reach == pytest.approx((2 * math.log(2) - 1) / sharpness, rel=1e-3)


def test_noise_is_integrated_around_each_sample() -> None:
    """At the kink of a unit, noise sees both sides alike: ``E (1[ε > 0] - 0)² = 1/2`` beside a unit that is off."""
    off = Unit(nn.Threshold(100.0, 0.0))
    found = gradient_gap(Unit(nn.ReLU()), off, torch.zeros(1, 1), noise=0.3, draws=300)
    assert found.gap.item() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(300))
    assert found.standard_error == math.inf


def test_a_model_has_no_gap_to_itself_and_less_to_a_steered_twin_that_is_nearer() -> None:
    torch.manual_seed(0)
    model, x = MLP((6,), 3, hidden=(16, 16)).double(), doubles(20, 6)
    assert not gradient_gap(model, model, x).gap.any()
    gaps = [gradient_gap(model, steer(model, beta, mix=0.0, example=x[:2]), x).mean.value for beta in (0.99, 0.9, 0.5)]
    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_every_draw_against_a_loop() -> None:
    torch.manual_seed(0)
    models = [MLP((4,), 3, hidden=(8,)).double() for _ in range(2)]
    x, draws, deviation = doubles(5, 4), 7, 0.2
    found = gradient_gap(*models, x, noise=deviation, draws=draws, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    noise = [deviation * torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(draws)]
    table = torch.zeros(draws, 5, dtype=torch.float64)
    for row in range(5):
        chosen = models[0](x[row : row + 1]).argmax()
        for draw in range(draws):
            slopes = []
            for model in models:
                point = (x[row] + noise[draw])[None].requires_grad_()
                slopes.append(torch.autograd.grad(model(point)[0, chosen], point)[0])
            table[draw, row] = (slopes[0] - slopes[1]).square().sum()
    torch.testing.assert_close(found.gap, table.mean(dim=0))
    error = math.sqrt(table.mean(dim=0).var().item() / 5 + table.mean(dim=1).var().item() / draws)
    assert found.standard_error == pytest.approx(error)


def test_the_standard_error_without_noise_is_that_of_a_mean() -> None:
    models = [MLP((4,), 3, hidden=(8,)) for _ in range(2)]
    found = gradient_gap(*models, doubles(9, 4).float())
    assert found.standard_error == pytest.approx(found.gap.std().item() / 3)
    assert found.mean.value == pytest.approx(found.gap.mean().item())


def test_zero_gradients_are_told_apart() -> None:
    flat, slope = Unit(nn.Threshold(100.0, 0.0)), Unit(nn.Identity())
    x = torch.ones(3, 1)
    assert gradient_gap(flat, flat, x).relative == 0
    assert gradient_gap(flat, slope, x).relative == math.inf
    assert gradient_gap(slope, flat, x).relative == 1


@pytest.mark.parametrize("noise", [{}, {"noise": 0.1, "draws": 3}])
def test_the_battery_of_probes(noise: dict[str, Any]) -> None:
    first, second = MLP((5,), 3, hidden=(8,)), MLP((5,), 3, hidden=(8,))
    check_probe(partial(_of, other=second, **noise), first, doubles(4, 5).float(), torch.tensor([0, 1, 2, 0]))
    check_probe(partial(_with, model=first, **noise), second, doubles(4, 5).float())


def _of(
    model: nn.Module, inputs: torch.Tensor, target: torch.Tensor | None = None, *, other: nn.Module, **rest: Any
) -> Any:
    return gradient_gap(model, other, inputs, target, **rest)


def _with(other: nn.Module, inputs: torch.Tensor, *, model: nn.Module, **rest: Any) -> Any:
    return gradient_gap(model, other, inputs, **rest)


def test_chunks_meet_the_same_noise() -> None:
    models = [MLP((5,), 3, hidden=(8,)).double() for _ in range(2)]
    whole = gradient_gap(*models, doubles(7, 5), noise=0.5, draws=4)
    for chunk_size in (1, 3, 7, 20):
        cut = gradient_gap(*models, doubles(7, 5), noise=0.5, draws=4, chunk_size=chunk_size)
        torch.testing.assert_close(cut.gap, whole.gap, rtol=1e-12, atol=0)
        assert cut.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_the_record_becomes_json_words_and_a_chart() -> None:
    models = [MLP((5,), 3, hidden=(8,)) for _ in range(2)]
    found = gradient_gap(*models, doubles(6, 5).float(), noise=0.1, draws=2)
    assert json.loads(json.dumps(found.to_dict()))["gap"] == found.gap.tolist()
    assert "with noise of 0.1 around them, 2 draws" in str(found)
    pytest.importorskip("altair")
    assert "layer" in found.plot().to_dict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": -0.1}, "noise must be a standard deviation of at least 0, got -0.1"),
        ({"noise": math.nan}, "noise must be"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"draws": 2}, "draws must be at least 1, and 1 without noise, got 2 with noise 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gradient_gap(nn.Linear(5, 3), nn.Linear(5, 3), torch.zeros(2, 5), **options)
