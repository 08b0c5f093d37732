"""Sensitivity-n: one for additive scores, a twin in loops, and what does not vary."""

import json
from functools import partial
from typing import Any

import pytest
import torch
from oracles import faithfulness
from torch import nn

from trueline.contracts import check_probe
from trueline.explain._baselines import MeanBaseline
from trueline.explain._removal_order import random_orders
from trueline.explain._sensitivity_n import sensitivity_n
from trueline.models import MLP


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("zero", [True, False])
def test_contributions_to_a_linear_logit_follow_every_drop(zero: bool) -> None:
    model, x = nn.Linear(12, 3).double(), drawn(5, 12)
    baseline = MeanBaseline(torch.zeros(1, 12) if zero else drawn(7, 12, seed=1))
    target = model(x).argmax(dim=1)
    maps = ((x - baseline.replacement(x)) * model.weight[target]).detach()
    found = sensitivity_n(model, x, maps, baseline=baseline)
    assert torch.allclose(found.correlation, torch.ones(1, dtype=torch.float64))
    assert torch.allclose(sensitivity_n(model, x, -3 * maps, baseline=baseline).correlation, -found.correlation)
    assert found.advantage.low > 0.3


def test_against_plain_loops() -> None:
    model, x, maps = MLP((2, 3, 3), 4, hidden=(8,)).double(), drawn(3, 2, 3, 3), drawn(3, 3, 3, seed=1)
    found = sensitivity_n(model, x, maps, sizes=(1, 4, 8), subsets=6, baseline=0.5, of="margin", draws=2)
    generator = torch.Generator().manual_seed(0)
    random_orders(9, 2, generator)
    for column, size in enumerate((1, 4, 8)):
        subsets = [order[:size].tolist() for order in random_orders(9, 6, generator)]
        for i in range(3):
            c = int(found.target[i])
            clean = faithfulness.score(model, x[i], c, "margin")
            replacement = torch.full((2, 3, 3), 0.5)
            drops = [
                clean - faithfulness.removal_curve(model, x[i], c, subset, [size], replacement, "margin")[0]
                for subset in subsets
            ]
            sums = [sum(float(maps[i].flatten()[j]) for j in subset) for subset in subsets]
            assert found.correlation[i, column].item() == pytest.approx(faithfulness.correlation(sums, drops), rel=1e-9)


def test_what_does_not_vary_has_no_correlation() -> None:
    x = drawn(4, 6)
    flat = nn.Linear(6, 3).double()
    with torch.no_grad():
        flat.weight.zero_()
    assert sensitivity_n(flat, x, drawn(4, 6, seed=1)).correlation.abs().max().item() == 0
    zero = sensitivity_n(MLP((6,), 3, hidden=(8,)).double(), x, torch.zeros(4, 6))
    assert zero.correlation.abs().max().item() == 0
    assert zero.advantage.value == 0
    same = sensitivity_n(MLP((6,), 3, hidden=(8,)).double(), x, torch.full((4, 6), 0.1))  # sums of n equal numbers
    assert same.correlation.abs().max().item() == 0


def test_the_control_is_that_of_shuffled_maps() -> None:
    model, x, maps = MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6), drawn(4, 6, seed=1)
    found = sensitivity_n(model, x, maps, draws=3)
    orders = random_orders(6, 3, torch.Generator().manual_seed(0))
    others = [sensitivity_n(model, x, maps[:, order], draws=3) for order in orders]
    assert torch.allclose(torch.stack([o.mean_correlation for o in others], dim=1), found.control_mean_correlation)
    assert torch.allclose(torch.stack([o.correlation for o in others]).mean(dim=0), found.control_correlation)


def test_default_sizes_span_the_entries() -> None:
    assert sensitivity_n(nn.Linear(2, 2), torch.ones(1, 2)).sizes.tolist() == [1]
    sizes = sensitivity_n(nn.Linear(100, 2), torch.ones(1, 100), subsets=2).sizes
    assert (int(sizes[0]), int(sizes[-1]), len(sizes)) == (1, 80, 10)
    assert bool((sizes.diff() > 0).all())


def test_the_battery_of_probes_and_chunks() -> None:
    check_probe(partial(sensitivity_n, subsets=10), MLP((6,), 3, hidden=(8,)).double(), drawn(6, 6))
    model, x = MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6)
    full = sensitivity_n(model, x, subsets=20)
    for size in (1, 7, 45):
        part = sensitivity_n(model, x, subsets=20, chunk_size=size)
        assert torch.allclose(part.correlation, full.correlation, rtol=1e-9)


def test_the_record_becomes_json_and_a_chart() -> None:
    found = sensitivity_n(MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6))
    assert json.loads(json.dumps(found.to_dict()))["sizes"] == found.sizes.tolist()
    assert str(found).startswith("sensitivity-n of Gradient")
    pytest.importorskip("altair")
    assert len(found.plot().to_dict()["data"]["values"]) == 2 * len(found.sizes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": ()}, "sizes must increase from 1"),
        ({"sizes": (0, 1)}, "sizes must increase from 1"),
        ({"sizes": (2, 2)}, "sizes must increase from 1"),
        ({"sizes": (1, 6)}, "to 5 at most"),
        ({"subsets": 1}, "subsets must be at least 2"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"inputs": torch.ones(3, 1), "model": nn.Linear(1, 2)}, "at least two entries"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(6, 2), "inputs": torch.ones(3, 6), **change}
    with pytest.raises(ValueError, match=words):
        sensitivity_n(**arguments)
