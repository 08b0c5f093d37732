"""Infidelity: zero for linear scores, the best scale, captum, and a twin in loops."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from oracles import faithfulness
from torch import nn

from trueline.contracts import check_probe
from trueline.explain._infidelity import infidelity
from trueline.explain._removal_order import random_orders
from trueline.models import MLP


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def same_noise(number: int, *shape: int, sigma: float = 0.1, draws: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    random_orders(torch.Size(shape).numel(), draws, generator)
    return [sigma * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(number)]


def test_the_gradient_of_a_linear_score_has_none() -> None:
    model, x = nn.Linear(6, 3).double(), drawn(5, 6)
    found = infidelity(model, x)
    assert bool((found.infidelity < 1e-20 * found.drop_square).all())
    assert torch.allclose(found.scale, torch.ones(5, dtype=torch.float64))
    assert found.advantage.low > 0


def test_a_multiple_of_the_gradient_has_the_square_of_what_is_missing() -> None:
    model, x = nn.Linear(6, 3).double(), drawn(5, 6)
    maps = 4 * model.weight.detach()[model(x).argmax(dim=1)]
    found = infidelity(model, x, maps)
    assert torch.allclose(found.infidelity, 9 * found.drop_square)
    assert torch.allclose(found.scale, torch.full((5,), 0.25, dtype=torch.float64))
    assert bool((found.scaled_infidelity < 1e-20 * found.drop_square).all())


def test_a_wrong_map_of_a_linear_score_costs_the_variance_of_the_difference() -> None:
    model, x, maps = nn.Linear(6, 3).double(), drawn(2, 6), drawn(2, 6, seed=1)
    found = infidelity(model, x, maps, sigma=0.5, perturbations=20_000)
    gap = maps - model.weight.detach()[found.target]
    assert torch.allclose(found.infidelity, 0.25 * gap.square().sum(dim=1), rtol=0.05)


def test_against_plain_loops() -> None:
    model, x, maps = smooth_net(), drawn(3, 5), drawn(3, 5, seed=1)
    found = infidelity(model, x, maps, perturbations=7, of="log_odds")
    for i in range(3):
        c = int(found.target[i])

        def drop(noise: torch.Tensor, i: int = i, c: int = c) -> float:
            return faithfulness.score(model, x[i], c, "log_odds") - faithfulness.score(
                model, x[i] - noise, c, "log_odds"
            )

        expected = faithfulness.infidelity(drop, maps[i], same_noise(7, 5))
        mine = (found.infidelity[i].item(), found.scale[i].item(), found.scaled_infidelity[i].item())
        assert mine == pytest.approx(expected, rel=1e-9)


def test_against_captum() -> None:
    metrics = pytest.importorskip("captum.metrics")
    model, x, maps = smooth_net(), drawn(4, 5), drawn(4, 5, seed=1)
    found = infidelity(model, x, maps, perturbations=50)
    noise = torch.stack(same_noise(50, 5))

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        each = noise.repeat(len(inputs) // 50, 1)  # captum repeats each sample 50 times
        return each, inputs - each

    options: dict[str, Any] = {"target": found.target, "n_perturb_samples": 50}
    assert torch.allclose(metrics.infidelity(model, perturb, x, maps, **options), found.infidelity)
    theirs = metrics.infidelity(model, perturb, x, maps, normalize=True, **options)
    assert torch.allclose(theirs, found.scaled_infidelity)


def test_the_best_scale_is_the_best() -> None:
    model, x, maps = smooth_net(), drawn(4, 5), drawn(4, 5, seed=1)
    found = infidelity(model, x, maps)
    assert bool((found.scaled_infidelity <= found.infidelity).all())
    assert bool((found.scaled_infidelity <= found.drop_square).all())
    again = infidelity(model, x, found.scale[:, None] * maps)
    assert torch.allclose(again.infidelity, found.scaled_infidelity)
    for factor in (0.9, 1.1):
        other = infidelity(model, x, factor * found.scale[:, None] * maps)
        assert bool((other.infidelity > found.scaled_infidelity).all())


def test_a_map_of_zeros() -> None:
    found = infidelity(smooth_net(), drawn(4, 5), torch.zeros(4, 5))
    assert found.scale.tolist() == [0.0] * 4
    assert torch.equal(found.infidelity, found.drop_square)
    assert torch.equal(found.scaled_infidelity, found.drop_square)
    assert found.advantage.value == 0


def test_the_control_is_that_of_shuffled_maps() -> None:
    model, x, maps = smooth_net(), drawn(4, 5), drawn(4, 5, seed=1)
    found = infidelity(model, x, maps, draws=3)
    for draw, order in enumerate(random_orders(5, 3, torch.Generator().manual_seed(0))):
        other = infidelity(model, x, maps[:, order], draws=3)
        assert torch.allclose(other.infidelity, found.control_infidelity[:, draw])
        assert torch.allclose(other.scaled_infidelity, found.control_scaled_infidelity[:, draw])


def test_the_battery_of_probes_and_chunks() -> None:
    check_probe(partial(infidelity, perturbations=10), smooth_net(), drawn(4, 5))
    model, x = MLP((2, 3, 3), 3, hidden=(8,)).double(), drawn(4, 2, 3, 3)
    full = infidelity(model, x, perturbations=10)
    for size in (1, 3, 11, 25):
        assert torch.allclose(infidelity(model, x, perturbations=10, chunk_size=size).infidelity, full.infidelity)


def test_the_record_becomes_json_and_a_chart() -> None:
    found = infidelity(smooth_net(), drawn(4, 5))
    assert json.loads(json.dumps(found.to_dict()))["scale"] == found.scale.tolist()
    assert "better than random orders" in str(found)
    pytest.importorskip("altair")
    assert found.plot().to_dict()["layer"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"sigma": math.nan}, "sigma must be positive"),
        ({"perturbations": 0}, "perturbations must be at least 1"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"explanation": torch.zeros(2, 3, 3)}, "each entry of a sample needs its own attribution"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"model": MLP((2, 3, 3), 3), "inputs": torch.ones(2, 2, 3, 3), **change}
    with pytest.raises(ValueError, match=words):
        infidelity(**arguments)
