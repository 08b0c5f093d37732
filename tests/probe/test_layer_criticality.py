"""Layer criticality: own weights cost nothing, copies with loaded weights, intervals, and a model left as found."""

import copy
import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.models import MLP, resnet8
from trueline.numerics import mean_interval
from trueline.probe._filter_bias import filter_bias
from trueline.probe._layer_criticality import layer_criticality
from trueline.probe._layer_criticality_record import LayerCriticality


@pytest.fixture(autouse=True)
def fixed_random_state() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def small_net() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 3),
    ).double()
    for norm in (model[1], model[5]):
        norm.running_mean.copy_(0.1 * drawn(4))
        norm.running_var.copy_(drawn(4).square() + 0.2)
    return model


def samples(count: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    return drawn(count, 1, 5, 5, seed=3), torch.arange(count) % 3


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def scores(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        logits = model.eval()(x)
    return logits.argmax(dim=1) == labels, F.cross_entropy(logits, labels, reduction="none")


def settle(model: nn.Module, x: torch.Tensor) -> None:
    """Give each batch norm the moments of what enters it in evaluation mode, in the order of the modules."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            caught: list[torch.Tensor] = []
            handle = norm.register_forward_pre_hook(lambda _, args, caught=caught: caught.append(args[0]))
            with torch.no_grad():
                model.eval()(x)
            handle.remove()
            values = torch.cat(list(caught[0]), dim=1).flatten(1)
            norm.running_mean.copy_(values.mean(dim=1))
            norm.running_var.copy_(values.var(dim=1))


# Closed forms


@pytest.mark.parametrize("recalibrate", [False, True])
def test_a_layers_own_weights_cost_nothing(recalibrate: bool) -> None:
    model, (x, labels) = small_net(), samples()
    before = state_of(model)
    record = layer_criticality(model, x, labels, before, recalibrate=recalibrate)
    assert [layer.name for layer in record.layers] == ["0", "4", "8"]  # not the convolution of one pixel
    for place, layer in enumerate(record.layers):
        assert layer.drop.value == 0
        assert layer.rise.value == 0
        assert layer.distance == 0
        assert layer.draws == (0.0,)
        assert layer.accuracy == record.base_hits.double().mean()
        assert torch.equal(record.hits[:, place], record.base_hits.double())
        assert torch.equal(record.losses[:, place], record.base_losses)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_layer_of_zeros_leaves_the_bias_alone() -> None:
    """With a zero head every sample has the log loss ln C and is of class 0."""
    model, (x, labels) = small_net(), samples()
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    record = layer_criticality(model, x, labels, state, layers=["8"])
    torch.testing.assert_close(record.losses, torch.full((30, 1), math.log(3)).double())
    assert torch.equal(record.hits[:, 0] == 1, labels == 0)
    assert record.layers[0].distance == pytest.approx(1)


def test_the_interval_of_a_drop_adds_half_a_sample_to_each_outcome() -> None:
    """b hits lost and c won of n: ``(b - c)/(n + 2) ± 1.96·√((b + c + 1) - (b - c)²/(n + 2))/(n + 2)``."""
    model, (x, labels) = small_net(), samples(200)
    other = state_of(small_net().apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None))
    record = layer_criticality(model, x, labels, other)
    for place, layer in enumerate(record.layers):
        lost = int((record.base_hits & (record.hits[:, place] == 0)).sum())
        won = int((~record.base_hits & (record.hits[:, place] == 1)).sum())
        centre = (lost - won) / 202
        half = 1.959964 * math.sqrt(lost + won + 1 - (lost - won) ** 2 / 202) / 202
        assert layer.drop.value == (lost - won) / 200
        assert layer.drop.low == pytest.approx(centre - half, rel=1e-5)
        assert layer.drop.high == pytest.approx(centre + half, rel=1e-5)
        assert layer.drop.low < layer.drop.value < layer.drop.high
        rise = mean_interval(record.losses[:, place] - record.base_losses)
        assert (layer.rise.value, layer.rise.low, layer.rise.high) == pytest.approx(rise)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_intervals_of_few_samples_are_wide_but_defined(count: int) -> None:
    model, (x, labels) = small_net(), samples(count)
    for reference in ("random", {name: -tensor for name, tensor in model.state_dict().items()}):
        layer = layer_criticality(model, x, labels, reference).layers[0]
        assert -1 <= layer.drop.low < layer.drop.value < layer.drop.high <= 1 or abs(layer.drop.value) == 1
        assert layer.drop.high - layer.drop.low > 0.5
        assert math.isinf(layer.rise.high) == (count == 1)


# The slow twin: a copy with loaded weights


@pytest.mark.parametrize("layers", [None, ["4"], ["3", "8"]])
def test_it_is_a_copy_with_the_layer_loaded(layers: list[str] | None) -> None:
    model, (x, labels) = small_net(), samples()
    state = {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    record = layer_criticality(model, x, labels, state, layers=layers)
    assert [layer.name for layer in record.layers] == (layers or ["0", "4", "8"])
    base = scores(copy.deepcopy(model), x, labels)
    assert torch.equal(record.base_hits, base[0])
    torch.testing.assert_close(record.base_losses, base[1])
    for place, layer in enumerate(record.layers):
        other, part = copy.deepcopy(model), dict(model.named_modules())[layer.name]
        for own in dict(part.named_parameters()):
            getattr(other.get_submodule(layer.name), own).data.copy_(state[f"{layer.name}.{own}"])
        hits, losses = scores(other, x, labels)
        assert torch.equal(record.hits[:, place], hits.double())
        torch.testing.assert_close(record.losses[:, place], losses)
        gap = (state[f"{layer.name}.weight"] - part.weight).norm() / part.weight.norm()
        assert layer.distance == pytest.approx(gap.item())


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_statistics_are_those_of_what_enters_each_batch_norm(chunk_size: int | None) -> None:
    model, (x, labels) = small_net(), samples()
    state = {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    record = layer_criticality(model, x, labels, state, recalibrate=True, chunk_size=chunk_size)
    assert record.recalibrated
    for place, name in enumerate([None, "0", "4", "8"]):
        other = copy.deepcopy(model)
        if name is not None:
            for own in dict(other.get_submodule(name).named_parameters()):
                getattr(other.get_submodule(name), own).data.copy_(state[f"{name}.{own}"])
        settle(other, x)
        hits, losses = scores(other, x, labels)
        found = record.base_losses if name is None else record.losses[:, place - 1]
        torch.testing.assert_close(found, losses)
        assert torch.equal(record.base_hits if name is None else record.hits[:, place - 1] == 1, hits)


def test_re_estimation_takes_back_what_a_stale_statistic_costs() -> None:
    """A layer scaled by 100 behind which a batch norm stands is the same network once re-estimated."""
    model, (x, labels) = small_net(), samples()
    state = {name: 100 * tensor for name, tensor in model.state_dict().items()}
    stale = layer_criticality(model, x, labels, state, layers=["0"])
    again = layer_criticality(model, x, labels, state, layers=["0"], recalibrate=True)
    assert stale.layers[0].rise.value > 0.1
    assert again.layers[0].rise.value == pytest.approx(0, abs=1e-3)
    assert "batch norm re-estimated" in str(again)


def test_residual_networks_are_recalibrated_in_their_order() -> None:
    model, x = resnet8((3, 8, 8), 3).double(), drawn(12, 3, 8, 8)
    labels = torch.arange(12) % 3
    record = layer_criticality(model, x, labels, state_of(model), recalibrate=True, chunk_size=5)
    other = copy.deepcopy(model)
    settle(other, x)
    torch.testing.assert_close(record.base_losses, scores(other, x, labels)[1])
    torch.testing.assert_close(record.losses, record.base_losses[:, None].expand(-1, 8))
    names = [layer.name for layer in filter_bias(model, example=x).layers]
    assert [layer.name for layer in record.layers] == [*names, "linear"]  # the two join by name


# Random draws


def test_draws_are_uniform_and_their_spread_is_in_the_interval(generator: torch.Generator) -> None:
    torch.manual_seed(1)
    model, x = nn.Linear(400, 3).double(), drawn(40, 400)
    labels = model(x).argmax(dim=1)
    record = layer_criticality(model, x, labels, "random", draws=6, generator=generator)
    layer = record.layers[0]
    assert layer.name == ""
    assert len(layer.draws) == 6
    assert layer.drop.value == pytest.approx(sum(layer.draws) / 6)
    assert set((record.hits * 6).round(decimals=9).unique().tolist()) <= set(range(7))
    # Fresh and own weights are both U(-1/20, 1/20): their difference is √2 as long.
    assert layer.distance == pytest.approx(math.sqrt(2), rel=0.05)
    _, low, high = mean_interval(torch.tensor(layer.draws, dtype=torch.float64))
    lost = record.base_hits.double() - record.hits[:, 0]
    over_samples = 1.959964 * math.sqrt(lost.square().sum() + 1 - lost.sum() ** 2 / 42) / 42
    half = math.hypot(over_samples, (high - low) / 2)
    assert layer.drop.low == pytest.approx(lost.sum().item() / 42 - half, rel=1e-5)
    assert layer.drop.high == pytest.approx(min(1, lost.sum().item() / 42 + half), rel=1e-5)
    rise = mean_interval(record.losses[:, 0] - record.base_losses)
    assert layer.rise.high - layer.rise.value > rise[2] - rise[0]
    again = layer_criticality(model, x, labels, "random", draws=6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.hits, record.hits)
    other = layer_criticality(model, x, labels, "random", draws=6, generator=generator)
    assert not torch.equal(other.losses, record.losses)
    assert "6 random initialisations" in str(record)


def test_without_a_generator_the_draws_are_the_same_each_time() -> None:
    model, (x, labels) = small_net(), samples()
    first, second = (layer_criticality(model, x, labels, "random") for _ in range(2))
    assert torch.equal(first.losses, second.losses)


# Kinds of models


def test_log_odds_of_two_classes_will_do() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1), nn.Flatten(0)).double()
    x, labels = drawn(9, 4), torch.arange(9) % 2
    record = layer_criticality(model, x, labels, state_of(model))
    with torch.no_grad():
        expected = F.binary_cross_entropy_with_logits(model(x), labels.double(), reduction="none")
    torch.testing.assert_close(record.base_losses, expected)


def test_tied_weights_change_together() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False)).double()
    model[2].weight = model[0].weight
    x, labels, state = drawn(9, 4), torch.arange(9) % 4, {"0.weight": drawn(4, 4, seed=2)}
    record = layer_criticality(model, x, labels, state, layers=["0"])
    other = copy.deepcopy(model)
    other[0].weight.data.copy_(state["0.weight"])
    torch.testing.assert_close(record.losses[:, 0], scores(other, x, labels)[1])


def test_parametrised_layers_take_a_state_but_no_draw() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))).double()
    x, labels = drawn(9, 4), torch.arange(9) % 3
    start = state_of(copy.deepcopy(model).apply(lambda m: None))
    start["0.parametrizations.weight.original0"] *= 2
    record = layer_criticality(model, x, labels, start)
    doubled = copy.deepcopy(model)
    doubled.load_state_dict(start)
    torch.testing.assert_close(record.losses[:, 0], scores(doubled, x, labels)[1])
    with pytest.raises(ValueError, match="the layer '0' is parametrised and has no random weights"):
        layer_criticality(model, x, labels, "random")


# Battery, surroundings, record


@pytest.mark.parametrize("reference", ["random", "state"])
def test_it_passes_the_battery(reference: str) -> None:
    model, (x, labels) = small_net(), samples(7)
    state = {name: tensor * 0.5 for name, tensor in model.state_dict().items()}
    given: Any = state if reference == "state" else "random"
    check_probe(partial(layer_criticality, reference=given), model, x, labels)


class Fails(nn.Module):
    """Fails in the pass with the given number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.calls = number, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.number:
            raise ArithmeticError("broken")
        return x


@pytest.mark.parametrize("recalibrate", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_an_error_on_the_way_leaves_no_trace(number: int, recalibrate: bool) -> None:
    model, (x, labels) = small_net(), samples()
    model.insert(2, Fails(number))
    model.train()
    model[0].weight.requires_grad_(False)
    before, parameters = state_of(model), list(model.parameters())
    changed = {name: -tensor for name, tensor in before.items()}
    with pytest.raises(ArithmeticError):
        layer_criticality(model, x, labels, changed, recalibrate=recalibrate, chunk_size=15)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_record_says_what_it_found() -> None:
    model, (x, labels) = small_net(), samples()
    with torch.no_grad():
        labels = model.eval()(x).argmax(dim=1)
    record = layer_criticality(model, x, labels, {name: -tensor for name, tensor in model.state_dict().items()})
    assert isinstance(record, LayerCriticality)
    beyond = sum(layer.drop.low > 0 for layer in record.layers)
    assert f"accuracy 1 as it is; {beyond} of 3 layers cost accuracy beyond noise" in str(record)
    worst = max(record.layers, key=lambda layer: layer.drop.value)
    assert str(record).splitlines()[1].startswith(f"  {worst.name}: loses {worst.drop.value:.4g}")
    table = json.loads(json.dumps(record.to_dict()))
    assert table["layers"][0]["drop"]["value"] == record.layers[0].drop.value
    assert table["hits"] == record.hits.tolist()
    pytest.importorskip("altair")
    assert len(record.plot().to_dict()["data"]["values"]) == 3


# Errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": ["9"]}, "unknown convolution or linear layer '9'"),
        ({"layers": ["1"]}, "unknown convolution or linear layer '1'"),
        ({"layers": []}, "no linear layer and no convolution"),
        ({"reference": {"0.weight": torch.zeros(4, 1, 3, 3)}}, "reference must hold '4.weight'"),
        ({"reference": {"0.weight": torch.zeros(4, 1, 5, 5)}}, r"must have shape \(4, 1, 3, 3\), got \(4, 1, 5, 5\)"),
        ({"reference": {"0.weight": torch.full((4, 1, 3, 3), math.nan)}}, "'0.weight' of reference must be finite"),
        ({"reference": "random", "draws": 1}, "draws must be at least 2, got 1"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"labels": torch.full((30,), 3)}, r"labels must lie in \[0, 2\]"),
        ({"model": nn.Sequential(nn.Flatten()), "inputs": drawn(30, 3)}, "no linear layer and no convolution"),
        (
            {"model": MLP((3,), 3, hidden=(4,)), "inputs": drawn(30, 3).float(), "recalibrate": True},
            "runs no batch norm",
        ),
        ({"model": nn.LazyLinear(3), "inputs": drawn(30, 3)}, "has no shape yet"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    x, labels = samples()
    model = change.get("model", small_net())
    arguments = {"model": model, "inputs": x, "labels": labels, **change}
    if "reference" not in change:
        lazy = isinstance(model, nn.LazyLinear)
        arguments["reference"] = {} if lazy else state_of(model)
    with pytest.raises(ValueError, match=words):
        layer_criticality(**arguments)


def test_a_norm_that_cannot_be_re_estimated_is_refused() -> None:
    norm = nn.BatchNorm1d(4)
    twice = nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 4), norm, nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="the batch norm '1' runs more than once"):
        layer_criticality(twice, drawn(6, 4), torch.arange(6) % 3, state_of(twice), recalibrate=True)
    single = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="the batch norm '1' needs two values a channel to be re-estimated, got 1"):
        layer_criticality(single, drawn(1, 4), torch.tensor([0]), state_of(single), recalibrate=True)


def test_what_has_the_wrong_type_is_refused() -> None:
    model, (x, labels) = small_net(), samples()
    for given in ((model, x.long(), labels), (model, x, labels.double()), (lambda x: x, x, labels)):
        with pytest.raises((TypeError, ValueError)):
            layer_criticality(*given, state_of(model))
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        layer_criticality(model, x, labels, "rand")
