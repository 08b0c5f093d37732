"""The attack towards a wanted map: what can be reached, what stays, and how the softplus sharpens."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import check_probe
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._targeted_attack import _schedule, targeted_attack


class Quadratic(nn.Module):
    """Logits ``(Σ x_i²/2, -10)``, whose first has the gradient x."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.square().flatten(1).sum(dim=1) / 2
        return torch.stack([score, torch.full_like(score, -10.0)], dim=1)


def network(*, smooth: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh() if smooth else nn.ReLU(), nn.Linear(16, 3)).double()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_map_within_reach_is_reached() -> None:
    # The map is the input itself, so that the wanted one is an input.
    x, wanted = drawn(4, 6), 0.1 + drawn(4, 6, seed=1)
    found = targeted_attack(Quadratic(), x, wanted, steps=150, learning_rate=0.02, logit_weight=0.0)
    assert found.mean is not None
    assert found.mean.value < 1e-2
    assert (found.rank_correlation > 0.99).all()
    assert found.success.all()
    assert torch.allclose(found.change, (found.points - x).abs().amax(dim=1))


def test_the_logits_hold_it_back() -> None:
    x, wanted = drawn(4, 6), 0.1 + drawn(4, 6, seed=1)
    model = network(smooth=True)
    free, bound = (
        targeted_attack(model, x, wanted, steps=40, learning_rate=0.02, map_weight=1.0, logit_weight=weight)
        for weight in (0.0, 10.0)
    )
    before = model(x)
    moved = [(model(found.points) - before).norm() for found in (free, bound)]
    assert moved[1] < moved[0]
    assert free.mean is not None
    assert bound.mean is not None
    assert free.mean.value < bound.mean.value


@pytest.mark.parametrize("smooth", [True, False])
def test_points_keep_the_class_the_radius_and_the_bounds(smooth: bool) -> None:
    model, x = network(smooth=smooth), drawn(8, 6)
    found = targeted_attack(model, x, x.flip(0), steps=40, learning_rate=0.05, radius=0.1)
    assert found.success.any()
    assert ((found.points - x).abs() <= 0.1).all()
    assert ((found.points >= 0) & (found.points <= 1)).all()
    assert torch.equal(model(found.points).argmax(dim=1), model(x).argmax(dim=1))
    assert (found.left[found.success] < 1).all()
    assert (found.left[~found.success] == 1).all()
    assert torch.equal(found.rank_correlation, rank_correlation(found.maps.abs(), x.flip(0)))


def test_no_radius_changes_nothing() -> None:
    x = drawn(3, 6)
    found = targeted_attack(network(), x, drawn(3, 6, seed=1), steps=3, radius=0.0)
    assert found.left.tolist() == [1.0] * 3
    assert torch.equal(found.points, x)


def test_the_sharpness_grows_geometrically() -> None:
    # Softplus at β is log(1 + exp(s·x))/s with s = 1/(1 - β).
    found = _schedule(True, (10.0, 1000.0), 3)
    assert [1 / (1 - beta) for beta in found if beta is not None] == pytest.approx([10, 100, 1000])
    assert _schedule(False, (10.0, 100.0), 2) == [None, None]
    assert len(_schedule(True, (10.0, 100.0), 1)) == 1


def test_wrong_samples_are_skipped() -> None:
    model, x = network(), drawn(5, 6)
    right = model(x).argmax(dim=1)
    labels = torch.where(torch.arange(5) < 2, right, (right + 1) % 3)
    found = targeted_attack(model, x, drawn(5, 6, seed=1), labels, steps=3)
    assert found.attacked.tolist() == [True] * 2 + [False] * 3
    assert found.left.isnan().tolist() == [False] * 2 + [True] * 3
    assert "3 skipped" in str(found)
    none = targeted_attack(model, x, drawn(5, 6, seed=1), (right + 1) % 3, steps=1)
    assert none.mean is None
    assert str(none).startswith("none of 5")


def test_the_battery_of_probes() -> None:
    def attack(model: nn.Module, inputs: Tensor, *labels: Tensor, chunk_size: int | None = None) -> Any:
        # A wanted map that follows from the sample alone, whatever the batch.
        wanted = inputs.cos().abs() + 0.1 if inputs.is_floating_point() else inputs
        return targeted_attack(model, inputs, wanted, *labels, steps=2, learning_rate=0.01, chunk_size=chunk_size)

    check_probe(attack, network(smooth=True), drawn(4, 6))
    check_probe(partial(attack), network(), drawn(4, 6), torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"map_weight": -1.0}, "must be at least 0"),
        ({"sharpness": (1.0, 100.0)}, "sharpness must be above 1"),
        ({"wanted": torch.zeros(4, 6).double()}, "not all zero, but map 0"),
        ({"wanted": torch.full((4, 6), math.nan).double()}, "must be finite"),
        ({"wanted": torch.ones(4, 7).double()}, "maps of the shape that the explainer makes"),
        ({"inputs": 2 * torch.ones(4, 6).double()}, "within bounds"),
        ({"explainer": lambda model, x, target: x}, "carry no gradient"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"inputs": drawn(4, 6), "wanted": torch.ones(4, 6).double()} | change
    with pytest.raises(ValueError, match=words):
        targeted_attack(network(), **arguments)
