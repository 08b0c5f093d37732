"""Filter bias: filters of known direction, the fair coin, folding against a fused convolution, and what runs where."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trueline.contracts import Record
from trueline.models import MLP, CifarResNet, ViT, resnet8
from trueline.probe._filter_bias import filter_bias
from trueline.probe._filter_bias_record import FilterBias
from trueline.recipes._shared_data import trained_resnet


@pytest.fixture(autouse=True)
def fixed_random_state() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Written(nn.Module):
    """A model whose forward is one expression of its layers."""

    def __init__(self, forward: Any, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.expression = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(self, x)


def convolution(weight: Any, bias: Any = None, **options: Any) -> nn.Conv2d:
    """A convolution of given filters (F, C, k, k)."""
    values = torch.as_tensor(weight, dtype=torch.float32)
    groups = options.get("groups", 1)
    layer = nn.Conv2d(values.shape[1] * groups, len(values), values.shape[2:], bias=bias is not None, **options)
    layer.weight.data = values
    if bias is not None:
        layer.bias.data = torch.as_tensor(bias, dtype=torch.float32)
    return layer


def settled(channels: int, seed: int = 0, norm: type[nn.Module] = nn.BatchNorm2d) -> Any:
    """A batch norm with scales of both signs and statistics of its own."""
    draw = torch.Generator().manual_seed(seed)
    layer: Any = norm(channels)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean):
        tensor.copy_(torch.randn(channels, generator=draw))
    layer.running_var.copy_(torch.rand(channels, generator=draw) + 0.5)
    return layer


def counted(signs: list[int]) -> nn.Conv2d:
    """Filters that lean as the signs say."""
    return convolution(torch.tensor([[[1.0, 2.0], [-1.0, 0.5]]]) * torch.tensor(signs)[:, None, None, None])


# Closed forms


def test_filters_of_known_direction() -> None:
    ramp = torch.arange(9.0).reshape(1, 3, 3)
    weight = torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3), ramp - 4, ramp])
    record = filter_bias(convolution(weight))
    torch.testing.assert_close(record.sums, torch.tensor([9.0, -9.0, 0.0, 36.0]).double())
    lean = 36 / (3 * math.sqrt(204))
    torch.testing.assert_close(record.cosines, torch.tensor([1.0, -1.0, 0.0, lean]).double())
    assert record.raw.filters == 4
    assert record.raw.mass == 0.5  # the sum of 0 counts
    assert record.raw.z == pytest.approx(-1 / math.sqrt(3))  # but says nothing about the coin
    assert record.raw.p_value == 1
    assert record.raw.mean.value == pytest.approx(lean / 4)
    assert record.raw.spread == pytest.approx(9 * record.cosines.var().item())
    assert record.layers[0].fan_in == 9
    assert record.layers[0].raw == record.layers[0].folded


def test_scaling_changes_no_cosine_and_negation_turns_all_around() -> None:
    layer = nn.Conv2d(3, 16, 3)
    plain = filter_bias(layer)
    layer.weight.data *= torch.rand(16, 1, 1, 1) + 0.1
    torch.testing.assert_close(filter_bias(layer).cosines, plain.cosines, rtol=1e-6, atol=1e-7)
    layer.weight.data *= -1
    turned = filter_bias(layer)
    torch.testing.assert_close(turned.cosines, -plain.cosines, rtol=1e-6, atol=1e-7)
    assert turned.raw.mass == pytest.approx(1 - plain.raw.mass)
    assert turned.raw.z == -plain.raw.z
    assert turned.raw.p_value == plain.raw.p_value


@pytest.mark.parametrize("signs", [[1] * 10, [-1] * 9 + [1], [1, -1] * 8, [-1] * 30 + [1] * 11])
def test_p_values_are_those_of_the_exact_test(signs: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    bias = filter_bias(counted(signs)).raw
    negative, count = signs.count(-1), len(signs)
    assert bias.p_value == pytest.approx(stats.binomtest(negative, count).pvalue, rel=1e-12)
    assert bias.mass == negative / count
    assert bias.z == pytest.approx((2 * bias.mass - 1) * math.sqrt(count))


def test_filters_whose_sums_are_all_zero_are_no_evidence() -> None:
    """All of them have p <= 0, as zero-mean filters do by construction; that is no lean."""
    bias = filter_bias(convolution([[[[1.0, -1.0]]]] * 20)).raw
    assert bias.mass == 1
    assert (bias.z, bias.p_value) == (0, 1)


def test_layers_are_corrected_by_holm() -> None:
    """Layers of 10, 9 of 10, and 5 of 10 negative sums: p of 2/1024, 22/1024 and 1."""
    layers = [counted([-1] * n + [1] * (10 - n)) for n in (9, 10, 5)]
    first, *rest = layers
    model = nn.Sequential(first, *(Written(lambda self, x: self.it(x[:, :1]), it=layer) for layer in rest))
    record = filter_bias(model)
    assert [layer.raw.p_value for layer in record.layers] == [22 / 1024, 2 / 1024, 1]
    assert [layer.raw.adjusted_p_value for layer in record.layers] == [2 * 22 / 1024, 3 * 2 / 1024, 1]
    assert record.raw.filters == 30
    assert record.raw.mass == 24 / 30
    assert record.raw.adjusted_p_value == record.raw.p_value
    assert "2 of 3 layers lean one way beyond chance" in str(record)
    same = filter_bias(
        nn.Sequential(counted([-1] * 10), Written(lambda self, x: self.it(x[:, :1]), it=counted([1] * 10)))
    )
    assert [layer.raw.adjusted_p_value for layer in same.layers] == [2 * 2 / 1024] * 2


def test_fresh_weights_are_the_null() -> None:
    """Signs are fair coins, and cosines have variance 1/d."""
    record = filter_bias(nn.Sequential(nn.Conv2d(8, 1500, 3), nn.ReLU(), nn.Conv2d(1500, 700, 3, groups=100)))
    assert [layer.fan_in for layer in record.layers] == [72, 135]
    for bias in (record.raw, *(layer.raw for layer in record.layers)):
        assert abs(bias.z) < 3.3
        assert bias.p_value > 1e-3
        assert bias.spread == pytest.approx(1, abs=5 * math.sqrt(2 / bias.filters))
        assert bias.mean.low - 0.01 < 0 < bias.mean.high + 0.01


def test_intercepts_are_where_constant_inputs_meet_the_hyperplanes() -> None:
    layer = nn.Conv2d(3, 12, 3).double()
    record = filter_bias(layer)
    for channel, constant in enumerate(record.intercepts):
        response = layer(torch.full((1, 3, 5, 5), constant.item(), dtype=torch.float64))[0, channel]
        torch.testing.assert_close(response, torch.zeros_like(response), rtol=0, atol=1e-12)


def test_parallel_hyperplanes_have_no_intercept_and_no_nan() -> None:
    record = filter_bias(convolution([[[[1.0, -1.0]]]], bias=[0.5]))
    assert record.intercepts.tolist() == [math.inf]
    assert record.to_dict()["intercepts"] == [None]
    assert math.isnan(record.raw.spread)
    assert (record.raw.mean.low, record.raw.mean.high) == (-math.inf, math.inf)


# Batch norm


def test_folding_is_the_fused_convolution() -> None:
    layer, norm = nn.Conv2d(3, 40, 3).double().eval(), settled(40).double().eval()
    record = filter_bias(nn.Sequential(layer, norm))
    fused = filter_bias(fuse_conv_bn_eval(layer, norm))
    torch.testing.assert_close(record.cosines * record.scales.sign(), fused.cosines)
    torch.testing.assert_close(record.intercepts, fused.intercepts, rtol=1e-6, atol=1e-8)
    assert record.folded is not None
    assert (record.folded.mass, record.folded.p_value) == (fused.raw.mass, fused.raw.p_value)
    assert record.folded.mean.value == pytest.approx(fused.raw.mean.value)
    assert record.raw.mass == filter_bias(layer).raw.mass
    assert record.raw.mass != record.folded.mass


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_without_scale_turns_nothing(affine: bool) -> None:
    norm = nn.BatchNorm2d(8, affine=affine)
    norm.running_mean += 0.3
    record = filter_bias(nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), norm))
    assert record.raw == record.folded
    torch.testing.assert_close(record.intercepts, 0.3 / record.sums, rtol=1e-5, atol=0)


def test_silenced_filters_leave_the_folded_statistic_alone() -> None:
    layer, norm = counted([1, -1, -1, -1]), settled(4)
    norm.weight.data = torch.tensor([1.0, -1.0, 0.0, 1.0])
    record = filter_bias(nn.Sequential(layer, norm))
    assert record.layers[0].silent_filters == 1
    assert record.raw.mass == 0.75
    assert record.folded is not None
    assert (record.folded.filters, record.folded.mass) == (3, 1 / 3)
    assert record.intercepts[2] == math.inf
    assert "1 filters silenced" in str(record)
    norm.weight.data.zero_()
    dead = filter_bias(nn.Sequential(layer, norm))
    assert dead.folded is None
    assert dead.layers[0].folded is None
    assert "4 filters, raw" in str(dead)
    pytest.importorskip("altair")
    dead.plot().to_dict()


def followed(record: FilterBias) -> dict[str, str | None]:
    return {layer.name: layer.batch_norm for layer in record.layers}


def test_in_sequential_containers_the_order_is_enough() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.5), nn.Identity(), settled(4)),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), settled(6)),
        nn.Conv2d(6, 2, 3),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)),
    )
    example = torch.randn(2, 1, 10, 10)
    model(example)
    expected = {"0.0": "0.3", "2.0": None, "3": None}
    assert followed(filter_bias(model)) == expected
    watched = filter_bias(model, example=example)
    assert followed(watched) == expected
    assert torch.equal(watched.cosines, filter_bias(model).cosines)
    assert followed(filter_bias(model, linear=True)) == {**expected, "4.2": None}


def test_other_containers_are_watched_and_never_guessed() -> None:
    model, example = resnet8((3, 8, 8), 10), torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match="cannot be read from the modules of CifarResNet; pass example="):
        filter_bias(model)
    record = filter_bias(model, example=example)
    names = ["conv1", *(f"layer{n}.0.conv{m}" for n in (1, 2, 3) for m in (1, 2))]
    assert followed(record) == {name: name.replace("conv", "bn") for name in names}
    assert [layer.first for layer in record.layers] == [True] + [False] * 6
    assert record.layers[0].lowest_input == example.min().item()
    assert [layer.lowest_input for layer in record.layers[1:]] == [0] * 6
    without = Written(lambda self, x: self.conv(x), conv=nn.Conv2d(1, 2, 3))
    assert followed(filter_bias(without)) == {"conv": None}  # no batch norm anywhere: nothing to be in doubt about


def test_a_norm_of_a_sum_is_not_folded() -> None:
    """As in pre-activation blocks: the sum enters the norm, not the convolution's output."""
    net = Written(
        lambda self, x: self.last(self.second(F.relu(self.norm(y := self.first(x)))) + y),
        first=nn.Conv2d(1, 4, 3, padding=1),
        norm=settled(4),
        second=nn.Conv2d(4, 4, 3, padding=1),
        last=settled(4),
    )
    assert followed(filter_bias(net, example=torch.randn(2, 1, 5, 5))) == {"first": "norm", "second": None}


@pytest.mark.parametrize("between", [F.relu, F.relu_, lambda x: x.mul_(-1), lambda x: x + 0])
def test_what_happens_to_the_output_in_between_is_seen(between: Any) -> None:
    layers = {"conv": nn.Conv2d(1, 4, 3), "norm": settled(4)}
    model = Written(lambda self, x: self.norm(between(self.conv(x))), **layers)
    assert followed(filter_bias(model, example=torch.randn(2, 1, 5, 5))) == {"conv": None}
    same = Written(lambda self, x: self.norm(input=F.dropout(self.conv(input=x), training=self.training)), **layers)
    assert followed(filter_bias(same, example=torch.randn(2, 1, 5, 5))) == {"conv": "norm"}


def test_doubtful_batch_norms_are_refused() -> None:
    layers = {"conv": nn.Conv2d(1, 4, 3), "one": settled(4), "two": settled(4, seed=1)}
    example = torch.randn(2, 1, 5, 5)
    both = Written(lambda self, x: self.one(y := self.conv(x)) + self.two(y), **layers)
    with pytest.raises(ValueError, match="'conv' enters several batch norms"):
        filter_bias(both, example=example)
    turns = Written(lambda self, x: self.one(self.conv(x)) + self.two(self.conv(-x)), **layers)
    with pytest.raises(ValueError, match="'conv' runs several times, not always before the same batch norm"):
        filter_bias(turns, example=example)
    again = Written(lambda self, x: self.one(self.conv(x)) + self.one(self.conv(-x)), **layers)
    assert followed(filter_bias(again, example=example)) == {"conv": "one"}
    shared = nn.Conv2d(4, 4, 3, padding=1)
    with pytest.raises(ValueError, match="'0' occurs twice; pass example="):
        filter_bias(nn.Sequential(shared, settled(4), shared))
    with pytest.raises(ValueError, match="the batch norm after '0' has no running statistics"):
        filter_bias(nn.Sequential(shared, nn.BatchNorm2d(4, track_running_stats=False)))


# Which layers count


def test_small_transposed_tied_and_unused_layers_are_skipped() -> None:
    tied = nn.Conv2d(4, 4, 3, padding=1)
    other = nn.Conv2d(4, 4, 3, padding=1)
    other.weight = tied.weight
    model = Written(
        lambda self, x: self.up(self.other(self.tied(self.point(x)))),
        point=nn.Conv2d(1, 4, 1),
        tied=tied,
        other=other,
        up=nn.ConvTranspose2d(4, 4, 3),
        unused=nn.Conv2d(4, 4, 3),
        head=nn.Linear(2, 2),
    )
    record = filter_bias(model, example=torch.randn(1, 1, 5, 5))
    assert followed(record) == {"tied": None}
    assert record.skipped == {
        "point": "kernel of one pixel",
        "other": "shares the weights of another layer",
        "up": "transposed convolution",
        "unused": "not reached by the example",
    }
    assert "4 layers skipped" in str(record)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv1d(3, 8, 5), 15),
        (nn.Conv2d(6, 8, 3, groups=2), 27),
        (nn.Conv2d(8, 8, 3, groups=8), 9),
        (nn.Conv2d(2, 8, (1, 3)), 6),
        (nn.Conv3d(2, 8, 2), 16),
    ],
)
def test_a_filter_has_the_weights_of_its_group(layer: nn.Module, fan_in: int) -> None:
    record = filter_bias(layer)
    assert record.layers[0].fan_in == fan_in
    assert record.layers[0].name == ""
    assert record.channel.tolist() == list(range(8))
    flat = layer.weight.detach().double().flatten(1)
    expected = F.cosine_similarity(flat, torch.ones_like(flat))
    torch.testing.assert_close(record.cosines, expected)


def test_linear_layers_count_when_asked() -> None:
    model = MLP((5,), 3, hidden=(8, 6))
    with pytest.raises(ValueError, match="MLP has no filters to count"):
        filter_bias(model)
    record = filter_bias(model, linear=True)
    assert record.raw.filters == 8 + 6 + 3
    assert record.layer.tolist() == [0] * 8 + [1] * 6 + [2] * 3
    assert [layer.fan_in for layer in record.layers] == [5, 8, 6]
    with_norm = nn.Sequential(nn.Linear(5, 4), settled(4, norm=nn.BatchNorm1d))
    assert followed(filter_bias(with_norm, linear=True)) == {"0": "1"}
    vit = ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2)
    assert filter_bias(vit, example=torch.randn(1, 1, 8, 8), linear=True).raw.filters > 0


def test_pruned_filters_are_left_out_and_counted() -> None:
    layer = counted([1, -1, 1, -1])
    layer.weight.data[1:3] = 0
    record = filter_bias(layer)
    assert record.channel.tolist() == [0, 3]
    assert record.layers[0].zero_filters == 2
    assert record.cosines.isfinite().all()
    assert "2 filters of zeros left out" in str(record)
    dead = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
    dead[0].weight.data.zero_()
    assert filter_bias(dead).skipped == {"0": "all filters are zero"}
    dead[1].weight.data.zero_()
    with pytest.raises(ValueError, match="no filters to count"):
        filter_bias(dead)


def test_parametrised_weights_are_read_as_they_act() -> None:
    layer = nn.Conv2d(2, 6, 3)
    direction = filter_bias(layer).cosines
    wrapped = nn.utils.parametrizations.weight_norm(copy.deepcopy(layer))
    torch.testing.assert_close(filter_bias(wrapped).cosines, direction, rtol=1e-5, atol=1e-6)
    spectral = nn.utils.parametrizations.spectral_norm(copy.deepcopy(layer)).train()
    before = {name: tensor.clone() for name, tensor in spectral.state_dict().items()}
    torch.testing.assert_close(filter_bias(spectral).cosines, direction, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in spectral.state_dict().items())


def test_trained_networks_lean_and_fresh_ones_do_not(shared_data: Path) -> None:
    """ResNet-20 of published weights, CIFAR-10: biased as a whole, most in the last stage."""
    example = torch.randn(2, 3, 32, 32)
    record = filter_bias(trained_resnet(20, shared_data), example=example)
    assert record.raw.filters == 688
    assert all(layer.batch_norm == layer.name.replace("conv", "bn") for layer in record.layers)
    assert record.folded is not None
    assert record.folded.mass > 0.65
    assert record.folded.p_value < 1e-20
    strongest = max(record.layers, key=lambda layer: abs(layer.folded.z))
    assert strongest.name.startswith("model.layer3")
    fresh = filter_bias(CifarResNet(20, (3, 32, 32), 10), example=example)
    assert fresh.raw.p_value > 1e-3


# The record, the model, errors


def test_the_record_is_a_record() -> None:
    record = filter_bias(resnet8((3, 8, 8), 10), example=torch.randn(2, 3, 8, 8))
    assert isinstance(record, Record)
    for name in ("sums", "cosines", "scales", "intercepts"):
        assert getattr(record, name).dtype == torch.float64
        assert name in record.units
    table = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert table["layers"][1]["name"] == "layer1.0.conv1"
    assert table["folded"]["mean"]["value"] == record.folded.mean.value
    assert f"filter bias of 7 layers, {record.raw.filters} filters, with batch norm folded in" in str(record)
    pytest.importorskip("altair")
    drawing = record.plot().to_dict()
    assert len(drawing["layer"][1]["data"]["values"]) == 14


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fail", [False, True])
def test_the_model_is_left_as_found(training: bool, fail: bool) -> None:
    model = resnet8((3, 8, 8), 10).train(training)
    model.conv1.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, example = torch.get_rng_state(), torch.randn(2, 4 if fail else 3, 8, 8)
    random = torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError):
            filter_bias(model, example=example)
    else:
        filter_bias(model, example=example)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    model, example = resnet8((3, 8, 8), 10), torch.randn(2, 3, 8, 8)
    expected = filter_bias(model, example=example)
    with context():
        assert torch.equal(filter_bias(model, example=example.clone()).cosines, expected.cosines)


def test_what_does_not_fit_is_refused() -> None:
    layer = nn.Conv2d(1, 2, 3)
    layer.weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="the weights of '' must be finite"):
        filter_bias(layer)
    with pytest.raises(ValueError, match="'' has no shape yet"):
        filter_bias(nn.LazyConv2d(2, 3))
    with pytest.raises(TypeError):
        filter_bias("model")
    for example in (torch.zeros(0, 1, 5, 5), torch.full((1, 1, 5, 5), math.nan)):
        with pytest.raises(ValueError, match="example must be finite and not empty"):
            filter_bias(nn.Conv2d(1, 2, 3), example=example)
    with pytest.raises(TypeError):
        filter_bias(nn.Conv2d(1, 2, 3), example=torch.zeros(1, 1, 5, 5, dtype=torch.int64))
