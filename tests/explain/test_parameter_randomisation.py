"""Randomised layers: what does not look at the model stays, what does goes, and the model is left as found."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.explain import Gradient, attribute
from trueline.explain._parameter_randomisation import parameter_randomisation
from trueline.explain._rank_correlation import rank_correlation
from trueline.models import MLP


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)
    ).double()


def edges(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return inputs.roll(1, dims=1) - inputs


def constant(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(inputs)


def test_a_method_that_does_not_look_at_the_model_stays_as_it_was() -> None:
    found = parameter_randomisation(net(), drawn(6, 20), edges)
    assert torch.allclose(found.similarity, torch.ones(1, dtype=torch.float64))


def test_gradients_lose_their_likeness_from_the_first_layer_on() -> None:
    found = parameter_randomisation(net(), drawn(60, 20))
    assert found.layers == ("5", "3", "1", "0")
    assert found.means[-1].high < 0.3
    assert abs(found.control_similarity.mean().item()) < 0.1
    signed = parameter_randomisation(net(), drawn(60, 20), absolute=False)
    assert abs(signed.means[-1].value) < 0.5
    assert not torch.equal(signed.similarity, found.similarity)


def test_layers_fall_one_after_the_other_and_stay_random() -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def watching(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return inputs

    parameter_randomisation(net(), drawn(3, 20), watching)
    names = [name for name, _ in net().named_parameters()]
    random: set[str] = set()
    for step, layer in enumerate(("5", "3", "1", "0"), start=1):
        changed = {name for name in names if not torch.equal(seen[step][name], seen[0][name])}
        random |= {name for name in names if name.startswith(f"{layer}.")} - {"1.weight", "1.bias"}
        assert changed == random  # scales and shifts that are all equal have no spread to be drawn from
        again = {name for name in names if step > 1 and not torch.equal(seen[step][name], seen[step - 1][name])}
        assert all(name.startswith(f"{layer}.") for name in again)
    for name in ("1.running_mean", "1.running_var"):
        assert torch.equal(seen[-1][name], seen[0][name])


def test_random_parameters_have_the_mean_and_spread_of_the_old_ones() -> None:
    model = nn.Linear(200, 50).double()
    with torch.no_grad():
        model.weight.copy_(3 + 0.5 * drawn(50, 200))
    kept: list[torch.Tensor] = []

    def watching(model: Any, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        kept.append(model.weight.clone())
        return inputs

    parameter_randomisation(model, drawn(2, 200), watching)
    assert kept[1].mean().item() == pytest.approx(3, abs=0.05)
    assert kept[1].std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([kept[0].flatten(), kept[1].flatten()]))[0, 1].item()) < 0.05


def test_shared_parameters_are_drawn_once() -> None:
    first = nn.Linear(6, 6).double()
    last = nn.Linear(6, 6).double()
    last.weight = first.weight
    weights: list[torch.Tensor] = []

    def watching(model: Any, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        weights.append(model[0].weight.clone())
        return inputs

    parameter_randomisation(nn.Sequential(first, nn.Tanh(), last), drawn(2, 6), watching)
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


def test_named_layers_are_taken_in_the_order_given() -> None:
    model, x = net(), drawn(4, 20)
    found = parameter_randomisation(model, x, layers=["0", "3"])
    assert found.layers == ("0", "3")
    assert found.similarity.shape == (4, 2)


def test_the_similarity_is_the_rank_correlation_of_the_class_of_the_model_as_it_was() -> None:
    model, x = net(), drawn(5, 20)
    last: list[nn.Module] = []

    def gradient(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        last.append(copy.deepcopy(model))
        return Gradient().maps(model, inputs, target)

    found = parameter_randomisation(model, x, gradient)
    before = attribute(model, x)
    assert torch.equal(found.target, before.target)
    after = attribute(last[-1], x, before.target).maps
    assert torch.allclose(found.similarity[:, -1], rank_correlation(before.maps.abs(), after.abs()))


def test_constant_maps_are_counted_and_left_out() -> None:
    found = parameter_randomisation(net(), drawn(4, 20), constant)
    assert bool(found.similarity.isnan().all())
    assert math.isnan(found.means[0].value)
    assert "4 samples with a constant map" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_battery_of_probes() -> None:
    check_probe(parameter_randomisation, MLP((6,), 3, hidden=(8,)).double(), drawn(5, 6))


def test_the_record_becomes_a_chart() -> None:
    pytest.importorskip("altair")
    assert len(parameter_randomisation(net(), drawn(4, 20)).plot().to_dict()["data"]["values"]) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": []}, "no layer to randomise"),
        ({"layers": ["7"]}, "'7' is no module of the model with parameters; it has '0', '1', '3', '5'"),
        ({"layers": ["2"]}, "'2' is no module of the model with parameters"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"model": nn.Identity()}, "no layer to randomise"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parameter_randomisation(**{"model": net(), "inputs": drawn(3, 20), **change})


def test_maps_are_refused_in_the_place_of_an_explainer() -> None:
    with pytest.raises(TypeError, match="needs an explainer, not maps"):
        parameter_randomisation(net(), drawn(3, 20), drawn(3, 20))
