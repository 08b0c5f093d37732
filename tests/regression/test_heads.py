"""Heads: what raw outputs stand for, training to the right law, and refusals."""

import math

import pytest
import torch
from torch import nn

from trueline.regression import (
    GaussianHead,
    MixtureHead,
    PredictiveHead,
    QuantileGrid,
    QuantileHead,
    crps,
    negative_log_density,
)


def test_raw_outputs_mean_what_is_documented(generator: torch.Generator) -> None:
    raw = torch.randn(5, 2, generator=generator)
    gaussian = GaussianHead(None)(raw)
    assert torch.equal(gaussian.mean(), raw[:, 0])
    assert torch.allclose(gaussian.scale, (1 + raw[:, 1].exp()).log() + 1e-6)
    raw = torch.randn(5, 6, generator=generator)
    mixture = MixtureHead(None, components=2)(raw)
    assert torch.allclose(mixture.weight, raw[:, :2].softmax(dim=1))
    assert torch.equal(mixture.location, raw[:, 2:4])
    grid = QuantileHead(None, levels=(0.1, 0.5, 0.9))(raw[:, :3])
    assert torch.equal(grid.quantiles, raw[:, :3].sort(dim=1).values)
    assert QuantileHead(None).outputs == 64
    assert QuantileHead(None).levels[0].item() == pytest.approx(1 / 65)


@pytest.mark.parametrize("make", [GaussianHead, MixtureHead, QuantileHead])
def test_extreme_outputs_stay_valid(make) -> None:
    head = make(None)
    raw = torch.tensor([[-1e4], [0.0], [1e4]]).expand(3, head.outputs)
    distribution = head(raw)
    assert isinstance(distribution, head.kind)
    assert len(distribution) == 3
    assert crps(distribution, torch.zeros(3)).isfinite().all()


@pytest.mark.parametrize("loss", ["density", "crps"])
@pytest.mark.parametrize("make", [GaussianHead, MixtureHead])
def test_training_finds_the_law(make, loss: str, generator: torch.Generator) -> None:
    x = torch.rand(512, 1, generator=generator)
    y = 2 * x[:, 0] - 1 + 0.3 * torch.randn(512, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(make(1))
    score = {"density": negative_log_density, "crps": crps}[loss]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        score(model(x), y).mean().backward()
        optimiser.step()
    law = model(torch.tensor([[0.25], [0.75]]))
    assert law.mean().tolist() == pytest.approx([-0.5, 0.5], abs=0.08)
    spread = law.quantile(torch.tensor([0.158655, 0.841345])).diff(dim=1) / 2
    assert spread.flatten().tolist() == pytest.approx([0.3, 0.3], abs=0.07)


def test_training_finds_the_quantiles(generator: torch.Generator) -> None:
    x = torch.rand(1024, 1, generator=generator)
    y = 2 * x[:, 0] + 0.3 * torch.randn(1024, generator=generator)
    torch.manual_seed(0)
    head = QuantileHead(1, levels=(0.1, 0.5, 0.9))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        head.loss(x, y).mean().backward()
        optimiser.step()
    expected = [1 + 0.3 * z for z in (-1.28155, 0.0, 1.28155)]
    assert head(torch.tensor([[0.5]])).quantiles[0].tolist() == pytest.approx(expected, abs=0.06)


def test_levels_move_and_save_with_the_head() -> None:
    head = QuantileHead(2, levels=(0.2, 0.8)).double()
    assert head.levels.dtype == torch.float64
    assert "levels" in head.state_dict()
    assert isinstance(head(torch.zeros(1, 2).double()), QuantileGrid)


def test_bad_shapes_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"GaussianHead needs raw outputs \(B, 2\), got \(3, 5\)"):
        GaussianHead(None)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="components must be at least 1"):
        MixtureHead(4, components=0)
    for levels in ((0.5,), (0.5, 0.1), (0.0, 0.5), 1):
        with pytest.raises(ValueError, match="at least two levels that ascend"):
            QuantileHead(4, levels=levels)
    with pytest.raises(ValueError, match="must be finite"):
        GaussianHead(None)(torch.full((1, 2), math.nan))
    with pytest.raises(TypeError):
        PredictiveHead(None, 1)
