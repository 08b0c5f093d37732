"""By how much maps do not add up."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.explain import Gradient
from trueline.explain._completeness import completeness_gap
from trueline.explain._integrated_gradients import IntegratedGradients


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.square().sum(dim=1), 0 * x[:, 0]], dim=1)


def test_of_a_square_the_gradient_misses_what_is_known(generator: torch.Generator) -> None:
    """Σ 2x_i beside Σ x_i²; from a baseline b the change is Σ x_i² - Σ b_i²."""
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    target = torch.zeros(5, dtype=torch.int64)
    found = completeness_gap(Square(), x, target, explainer=Gradient())
    torch.testing.assert_close(found.gap, (2 * x.sum(dim=1) - x.square().sum(dim=1)).abs())
    start = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    for asked in ({"baseline": start}, {"explainer": IntegratedGradients(baseline=start)}):
        found = completeness_gap(Square(), x, target, **asked)  # type: ignore[arg-type]
        torch.testing.assert_close(found.change, x.square().sum(dim=1) - 6)
    assert found.gap.max() < 1e-12


def test_more_steps_close_the_gap_of_a_relu_network(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).double()
    x = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    gaps = [completeness_gap(model, x, explainer=IntegratedGradients(steps=n)).gap.mean() for n in (2, 16, 128)]
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0


def test_the_score_is_the_explainers_unless_given(generator: torch.Generator) -> None:
    model = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    found = completeness_gap(model, x, explainer=IntegratedGradients(of="log_probability"))
    with torch.no_grad():
        rows = (model(x).log_softmax(1) - model(0 * x).log_softmax(1)).gather(1, found.target[:, None])[:, 0]
    torch.testing.assert_close(found.change, rows)
    assert found.gap.max() < 1e-10
    assert completeness_gap(model, x, of="margin").gap.max() > 1e-3  # the map is that of the logit


def test_the_battery_of_probes(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
    probe = partial(completeness_gap, explainer=IntegratedGradients(steps=3))
    check_probe(probe, model, torch.randn(5, 4, generator=generator), tolerance=1e-4)


def test_words_name_the_worst_sample_and_bad_baselines_are_refused() -> None:
    x = torch.tensor([[1.0, 1.0], [3.0, 0.0]], dtype=torch.float64)
    found = completeness_gap(Square(), x, torch.tensor([0, 0]), explainer=Gradient())
    assert "most in sample 1, 6 for 9" in str(found)
    with pytest.raises(ValueError, match="baseline must have the shape"):
        completeness_gap(Square(), x, baseline=torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        completeness_gap(Square(), x, baseline=torch.full((2,), math.nan))
