"""Steering: every way of writing an activation is reached, β = 1 is the model to the bit, and the twin lives on."""

import copy
import io
import itertools
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from trueline.contracts import check_steering
from trueline.models import MLP, ConvNet, ViT, preact_resnet18, resnet8
from trueline.steer import (
    CurvatureUnit,
    audit_activations,
    curvature_unit,
    mean_preserving_mix,
    set_beta,
    smooth_max_pool,
    soft_gate,
    steer,
    steering,
    steering_of,
    trainable_curvature,
)
from trueline.steer._operate import operate

X = torch.linspace(-2, 2, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


class Written(nn.Module):
    """A model whose forward is one expression after a convolution."""

    def __init__(self, expression: Any, **modules: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        for name, module in modules.items():
            self.add_module(name, module)
        self.expression = expression

    def forward(self, x: Any) -> Any:
        return self.expression(self, self.conv(x))


class Everything(nn.Module):
    """Every way of calling every kind, with a module that is used twice and an overwritten input that is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.leaky, self.gelu, self.pool = nn.LeakyReLU(0.1), nn.GELU(approximate="tanh"), nn.MaxPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 9, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.a(x)))
        x = self.b(x).relu()
        h = x - 0.1
        self.relu(h)
        x = x - 2 * h + self.leaky(x)
        x = F.silu(self.pool(F.leaky_relu(self.gelu(x), 0.3)))
        x = self.relu(F.max_pool2d(x, 2, 1))
        return self.head(x.flatten(1))


def everything() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Everything().eval(), torch.randn(4, 3, 12, 12)


WAYS = {
    "F.relu": lambda _, x: F.relu(x),
    "F.relu in place": lambda _, x: F.relu(x, inplace=True) + x,
    "torch.relu": lambda _, x: torch.relu(x),
    "torch.relu_": lambda _, x: torch.relu_(x) + x,
    "F.relu_": lambda _, x: F.relu_(x) + x,
    "x.relu": lambda _, x: x.relu(),
    "x.relu_": lambda _, x: x.relu_() + x,
    "aten": lambda _, x: torch.ops.aten.relu(x),
    "aten overload": lambda _, x: torch.ops.aten.relu.default(x),
    "inline module": lambda _, x: nn.ReLU()(x),
    "inline module in place": lambda _, x: nn.ReLU(inplace=True)(x) + x,
}


def _expected(way: str, beta: float) -> torch.Tensor:
    model = Written(WAYS[way])
    y = curvature_unit(model.conv(X), beta)
    return 2 * y if "place" in way or way.endswith("_") else y


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("granularity", ["shared", "callsite", "channel"])
def test_every_way_of_writing_a_relu_becomes_the_unit(way: str, granularity: Any) -> None:
    model = Written(WAYS[way])
    twin = steer(model, 0.7, example=X, granularity=granularity)
    assert torch.equal(twin(X), _expected(way, 0.7))
    assert not steering_of(twin).after.steerable
    assert torch.equal(steer(model, 1.0, example=X, granularity=granularity)(X), model(X))


KINDS = {
    "relu": (nn.ReLU(), lambda x: curvature_unit(x, 0.7)),
    "leaky_relu": (nn.LeakyReLU(0.2), lambda x: 0.2 * x + 0.8 * curvature_unit(x, 0.7)),
    "gelu": (nn.GELU(), lambda x: x * torch.special.ndtr(0.7 * x)),
    "gelu tanh": (nn.GELU("tanh"), lambda x: F.gelu(0.7 * x, approximate="tanh") / 0.7),
    "silu": (nn.SiLU(), lambda x: x * torch.sigmoid(0.7 * x)),
    "pool": (nn.MaxPool2d(2), lambda x: smooth_max_pool(x, (2, 2), beta=0.7)),
    "pool 1d": (nn.MaxPool1d(3, 2, padding=1), lambda x: smooth_max_pool(x, 3, 2, 1, beta=0.7)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_form_and_is_itself_at_one(kind: str) -> None:
    module, expected = KINDS[kind]
    x = X if kind != "pool 1d" else X.flatten(2)
    for model in (nn.Sequential(module), module):
        assert torch.allclose(steer(model, 0.7, example=x, pooling=True)(x), expected(x), atol=1e-6)
        assert torch.equal(steer(model, 1.0, example=x, pooling=True)(x), module(x))


@pytest.mark.parametrize("pooling", [False, True])
@pytest.mark.parametrize("granularity", ["shared", "stage", "module", "callsite", "channel", "callsite-channel"])
def test_one_model_with_everything(granularity: Any, pooling: bool) -> None:
    model, x = everything()
    if granularity == "channel" or (granularity == "callsite-channel" and pooling):
        model.relu = nn.ReLU()  # used on one number of channels only, so that this changes nothing
    assert torch.equal(steer(model, 1.0, example=x, granularity=granularity, pooling=pooling)(x), model(x))
    twin = steer(model, 0.8, example=x, granularity=granularity, pooling=pooling)
    assert torch.allclose(twin(x), steer(model, 0.8, example=x, pooling=pooling)(x), atol=1e-6)
    after = steering_of(twin).after
    assert len(after.steered) == (10 if pooling else 8)
    assert {call.kind for call in after if not call.steered} == (set() if pooling else {"max_pool2d"})


@pytest.mark.parametrize(
    "model",
    [
        MLP((3, 8, 8), 4, hidden=(16, 16)),
        ConvNet((3, 8, 8), 4),
        resnet8((3, 8, 8), 4),
        ViT((3, 8, 8), 4, patch=4, depth=2),
        preact_resnet18((3, 8, 8), 4, width=4),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(144, 2)),
        everything()[0],
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("granularity", ["shared", "callsite"])
def test_the_battery(model: nn.Module, granularity: Any) -> None:
    example = everything()[1] if isinstance(model, Everything) else X
    check_steering(lambda m, beta: steer(m, beta, example=example, granularity=granularity), model, example)


def test_the_battery_refuses_what_breaks_a_promise() -> None:
    model = MLP((4,), 2, hidden=(8,))
    x = torch.randn(3, 4)
    with pytest.raises(AssertionError, match="share its memory"):
        check_steering(lambda m, beta: copy.deepcopy(steer(m, beta)), model, x)
    with pytest.raises(AssertionError, match="to the bit"):
        check_steering(lambda m, beta: steer(m, min(beta, 0.99)), model, x)

    def rude(m: nn.Module, beta: float) -> nn.Module:
        m.register_forward_hook(lambda *_: None)
        return steer(m, beta)

    with pytest.raises(AssertionError, match="hooks"):
        check_steering(rude, model, x)


def test_a_mapping_steers_some_groups_and_names_the_nearest_when_mistyped() -> None:
    model = resnet8((3, 8, 8), 4).eval()
    twin = steer(model, {"layer3": 0.5}, granularity="stage", example=X)
    assert steering_of(twin).groups == ("relu", "layer1", "layer2", "layer3")
    betas = {site.name: unit.beta for site, unit in zip(*_sites(twin), strict=True)}
    assert {name: beta for name, beta in betas.items() if beta != 1} == {"layer3.0.relu1": 0.5, "layer3.0.relu2": 0.5}
    with pytest.raises(ValueError, match=r"unknown group 'layr3'; did you mean 'layer3'\?"):
        steer(model, {"layr3": 0.5}, granularity="stage", example=X)


def _sites(twin: nn.Module) -> tuple[Any, Any]:
    record = steering_of(twin)
    return record.sites, record.units


def test_stages_are_named_below_the_path_that_all_share() -> None:
    model = nn.Sequential(nn.Identity(), resnet8((3, 8, 8), 4))
    assert steering_of(steer(model, 0.9, example=X, granularity="stage")).groups == (
        "1.relu",
        "1.layer1",
        "1.layer2",
        "1.layer3",
    )


def test_settings_per_channel() -> None:
    model = Written(lambda self, x: self.act(x), act=nn.ReLU()).eval()
    values = torch.tensor([1.0, 0.9, 0.5, 0.0])
    twin = steer(model, {"act": values}, granularity="channel", example=X)
    expected = torch.stack([curvature_unit(model.conv(X)[:, i], float(values[i])) for i in range(4)], dim=1)
    assert torch.allclose(twin(X), expected, atol=1e-6)
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert torch.allclose(copy.deepcopy(twin).double()(X.double()), twin(X).double(), atol=1e-5)
    with pytest.raises(ValueError, match="has 4 channels"):
        steer(model, {"act": values[:3]}, granularity="channel", example=X)
    with pytest.raises(ValueError, match="takes one value"):
        steer(model, {"act": values}, granularity="module", example=X)
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\]"):
        steer(model, {"act": 2 * values}, granularity="channel", example=X)


def test_the_channel_axis_can_be_given() -> None:
    model = nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU())
    x = torch.randn(2, 3, 7)
    values = torch.linspace(0, 1, 5)
    with pytest.raises(ValueError, match="has 5 channels"):  # the last axis, of length 5 by chance, is not it
        steer(model, {"1": values[:4]}, granularity="channel", channel_axis=1, example=x)
    twin = steer(model, {"1": values}, granularity="channel", channel_axis=1, example=x)
    assert torch.allclose(twin(x)[:, 2], curvature_unit(model[0](x)[:, 2], float(values[2])), atol=1e-6)


def test_one_module_on_several_numbers_of_channels_needs_call_sites() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), act := nn.ReLU(), nn.Conv2d(4, 6, 3), act)
    with pytest.raises(ValueError, match=r"no single number of channels .*use granularity='callsite-channel'"):
        steer(model, 0.9, granularity="channel", example=X)
    twin = steer(model, 0.9, granularity="callsite-channel", example=X)
    assert [site.channels for site in steering_of(twin).sites] == [4, 6]
    assert torch.equal(twin(X), steer(model, 0.9, example=X)(X))
    betas = {":relu#1": 0.5}
    twin = steer(model, betas, granularity="callsite", example=X)
    assert torch.equal(twin(X), curvature_unit(model[2](F.relu(model[0](X))), 0.5))


def test_an_alias_stays_an_alias_and_hooks_stay() -> None:
    act = nn.ReLU()
    model = nn.ModuleDict({"a": act, "b": nn.Sequential(act)})
    seen: list[int] = []
    act.register_forward_hook(lambda *_: seen.append(1))
    model.forward = lambda x: model["b"](model["a"](x))  # type: ignore[method-assign]
    with steering(model, 0.5, example=X):
        assert model["a"] is model["b"][0]
        seen.clear()
        assert torch.equal(model(X), curvature_unit(curvature_unit(X, 0.5), 0.5))
        assert len(seen) == 2
    assert torch.equal(model(X), F.relu(X))


def test_steering_in_place_is_undone_also_after_an_exception() -> None:
    model, x = everything()
    before, printed, kept = model(x), str(model), {name: id(m) for name, m in model.named_modules()}
    keys = [set(vars(module)) for module in model.modules()]

    def fails() -> None:
        with steering(model, 0.8, example=x, granularity="callsite") as steered:
            assert steered is model
            assert not torch.equal(model(x), before)
            assert steering_of(model).granularity == "callsite"
            raise RuntimeError("from inside")

    with pytest.raises(RuntimeError, match="from inside"):
        fails()
    assert torch.equal(model(x), before)
    assert str(model) == printed
    assert {name: id(m) for name, m in model.named_modules()} == kept
    assert [set(vars(module)) for module in model.modules()] == keys
    assert {type(module).__name__.startswith("Steered") for module in model.modules()} == {False}
    with pytest.raises(TypeError, match="is not steered"):
        steering_of(model)


def test_nested_contexts_and_steering_a_twin_again() -> None:
    model = MLP((4,), 2, hidden=(8,))
    x = torch.randn(3, 4)
    twin = steer(model, 0.9)
    with pytest.raises(ValueError, match=r"nothing in .* can be steered"):
        steer(twin, 0.5)
    with steering(model, 0.9), pytest.raises(ValueError, match="steered already"), steering(model, 0.8):
        pass
    assert torch.equal(twin(x), steer(model, 0.9)(x))


def test_the_weights_are_shared_and_nothing_else() -> None:
    model, x = everything()
    twin = steer(model, 0.8, example=x)
    with torch.no_grad():
        model.head.bias += 1
    assert torch.equal(twin.head.bias, model.head.bias)
    twin.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    twin.half()
    assert model.head.bias.dtype == torch.float32
    twin = steer(model, 0.8, example=x).train()
    before = model.norm.running_mean.clone()
    twin(x)
    assert torch.equal(model.norm.running_mean, before)
    twin(x).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_parameter_of_another_class_is_the_twins_own_too() -> None:
    class Named(nn.Parameter):
        pass

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[0].weight = Named(model[0].weight.detach())
    model[0].weight.name_of_it = "kept"
    twin = steer(model, 0.9, example=torch.randn(2, 4)).requires_grad_(False)
    assert type(twin[0].weight) is Named
    assert twin[0].weight.name_of_it == "kept"
    assert twin[0].weight.data_ptr() == model[0].weight.data_ptr()
    assert model[0].weight.requires_grad


def test_training_mode_and_tied_weights_survive() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 4))
    model[3].weight = model[0].weight
    model[2].eval()
    twin = steer(model, 0.9, example=torch.randn(2, 4))
    assert [module.training for module in twin][:4] == [True, True, False, True]
    assert twin[3].weight is twin[0].weight


def test_the_twin_is_of_the_models_class_and_keeps_its_other_methods() -> None:
    model = resnet8((3, 8, 8), 4).eval()
    twin = steer(model, 0.9)
    assert isinstance(twin, type(model))
    assert torch.equal(twin.classifier(twin.features(X)), twin(X))
    assert not torch.equal(twin.features(X), model.features(X))


def test_the_twin_is_saved_and_loaded() -> None:
    model, x = everything()
    model.expression = None
    twin = steer(model, 0.8, example=x, granularity="callsite", pooling=True)
    loaded = pickle.loads(pickle.dumps(twin))
    assert torch.equal(loaded(x), twin(x))
    buffer = io.BytesIO()
    torch.save(twin.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(5)
    fresh = steer(Everything().eval(), 0.8, example=x, granularity="callsite", pooling=True)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(fresh(x), twin(x))


def test_half_precision_and_autocast() -> None:
    model, x = everything()
    expected = steer(model, 0.8, example=x)(x)
    low = copy.deepcopy(model).bfloat16()
    twin = steer(low, 0.8, example=x.bfloat16())
    assert twin(x.bfloat16()).dtype == torch.bfloat16
    assert torch.allclose(twin(x.bfloat16()).float(), expected, atol=0.05)
    assert torch.equal(steer(low, 1.0, example=x.bfloat16())(x.bfloat16()), low(x.bfloat16()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(steer(model, 0.8, example=x)(x).float(), expected, atol=0.05)
        assert torch.equal(steer(model, 1.0, example=x)(x), model(x))


def test_gradients_reach_the_input_through_overwritten_activations() -> None:
    model, x = everything()
    twin, plain = steer(model.double(), 0.8, example=x.double()), x.double()[:1].requires_grad_()
    assert torch.autograd.gradcheck(twin, plain, fast_mode=True)


def test_encoder_layers_leave_their_fused_kernels() -> None:
    torch.manual_seed(0)
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    for activation in ("relu", "gelu", nn.ReLU(), nn.GELU()):
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation=activation)
        for model in (layer.eval(), nn.TransformerEncoder(layer, 2).eval()):
            twin = steer(model, 0.5, example=x)
            with torch.no_grad():
                fast, slow = twin(x), model(x)
            assert torch.allclose(fast, twin(x), atol=1e-5)
            assert not torch.allclose(fast, slow, atol=1e-3)
            assert torch.equal(steer(model, 1.0, example=x)(x), model(x))
            with steering(model, 0.5, example=x), torch.no_grad():
                masked = model(x, src_key_padding_mask=padding), twin(x, src_key_padding_mask=padding)
                assert torch.allclose(*masked, atol=1e-5)
            with torch.no_grad():
                assert torch.equal(model(x), slow)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # PyTorch's own, when an exported graph is copied
def test_traced_and_exported_graphs() -> None:
    model, x = everything()
    for graph in (fx.symbolic_trace(model), torch.export.export(model, (x,)).module()):
        for granularity in ("shared", "callsite"):
            twin = steer(graph, 0.8, example=x, granularity=granularity, pooling=True)
            expected = steer(model, 0.8, example=x, pooling=True)(x)
            assert torch.allclose(twin(x), expected, atol=1e-6)
            assert torch.allclose(copy.deepcopy(twin)(x), expected, atol=1e-6)
            with steering(graph, 0.8, example=x, granularity=granularity, pooling=True):
                assert torch.allclose(graph(x), expected, atol=1e-6)
            assert torch.equal(graph(x), model(x))
            assert torch.equal(steer(graph, 1.0, example=x, granularity=granularity)(x), model(x))


def test_a_steered_twin_can_be_exported() -> None:
    model, x = everything()
    for granularity in ("shared", "callsite"):
        twin = steer(model, 0.8, example=x, granularity=granularity)
        program = torch.export.export(twin, (x,)).module()
        assert torch.allclose(program(x), twin(x), atol=1e-6)


def test_compiling() -> None:
    """In a process of its own: checks of annotations at run time cannot be compiled."""
    program = f"""
import sys, torch, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_steer import WAYS, Written, X, everything
from trueline.steer import steer
model, x = everything()
for granularity in ("shared", "callsite"):
    for pooling in (False, True):
        twin = steer(model, 0.8, example=x, granularity=granularity, pooling=pooling)
        compiled = torch.compile(twin, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x), twin(x), atol=1e-5), (granularity, pooling)
for way, expression in WAYS.items():
    twin = steer(Written(expression), 0.8, example=X)
    assert torch.allclose(torch.compile(twin, backend="eager")(X), twin(X), atol=1e-5), way
    torch._dynamo.reset()
program = torch.export.export(steer(model, 0.8, example=x), (x,), strict=True).module()
assert torch.allclose(program(x), steer(model, 0.8, example=x)(x), atol=1e-5)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=240)


def test_several_processes_can_hold_it(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model, x = everything()
        twin = steer(model, 0.8, example=x)
        wrapped = nn.parallel.DistributedDataParallel(twin)
        wrapped(x).sum().backward()
        assert torch.equal(wrapped(x), twin(x))
        assert all(parameter.grad is not None for parameter in twin.parameters())
    finally:
        torch.distributed.destroy_process_group()


@torch.no_grad()
def test_a_scale_makes_the_width_follow_what_comes_in() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    x = torch.randn(64, 4)
    twin = steer(model, 0.9, scale="rms", example=x)
    first, second = steering_of(twin).units
    assert first.scale == pytest.approx(float(model[0](x).square().mean().sqrt()), rel=1e-5)
    assert second.scale == pytest.approx(float(model[2](F.relu(model[0](x))).square().mean().sqrt()), rel=1e-5)
    larger = copy.deepcopy(model)
    with torch.no_grad():
        larger[0].weight *= 10
        larger[0].bias *= 10
        larger[2].weight /= 10
    assert torch.allclose(steer(larger, 0.9, scale="rms", example=x)(x), twin(x), atol=1e-5)
    with pytest.raises(ValueError, match="nothing but zeros"):
        steer(nn.ReLU(), 0.9, scale="rms", example=torch.zeros(2, 3))


def test_the_mix_that_preserves_the_mean() -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)).double()
    shifts = {
        mix: float(steer(nn.ReLU(), 0.9, mix=mix, example=x[:2])(x).mean() - x.relu().mean())
        for mix in (0.0, 0.5, 1.0, "mean_preserving")
    }
    assert shifts[0.0] == pytest.approx(0.0065, abs=1e-4)
    assert shifts[1.0] == pytest.approx(-0.0078, abs=1e-4)
    assert shifts[0.5] == pytest.approx(-0.0006, abs=1e-4)
    assert shifts["mean_preserving"] == pytest.approx(0.0001, abs=1e-4)
    assert mean_preserving_mix(0.9) == pytest.approx(0.81 / 1.81)


def test_batch_norm_is_kept_or_recalibrated() -> None:
    model, x = everything()
    model.norm.running_mean.fill_(7.0)
    kept = steer(model, 0.8, example=x)
    again = steer(model, 0.8, example=x, batch_norm="recalibrate", batches=[x])
    assert torch.equal(kept.norm.running_mean, model.norm.running_mean)
    assert torch.allclose(again.norm.running_mean, model.a(x).mean(dim=(0, 2, 3)), atol=1e-5)
    assert (model.norm.running_mean == 7.0).all()
    with pytest.raises(TypeError, match="needs batches"):
        steer(model, 0.8, example=x, batch_norm="recalibrate")
    with pytest.raises((ValueError, TypeError), match="'train'"):
        steer(model, 0.8, example=x, batch_norm="train")  # type: ignore[arg-type]


def test_another_beta_without_another_audit() -> None:
    model, x = everything()
    for granularity in ("shared", "callsite"):
        twin = steer(model, 0.9, mix="mean_preserving", scale="rms", pooling=True, granularity=granularity, example=x)
        for beta in (0.5, 1.0):
            set_beta(twin, beta)
            options = {"mix": "mean_preserving", "scale": "rms", "pooling": True, "granularity": granularity}
            assert torch.equal(twin(x), steer(model, beta, **options, example=x)(x))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        set_beta(twin, 2.0)
    assert torch.equal(twin(x), model(x))
    with pytest.raises(TypeError, match="is learned"):
        set_beta(trainable_curvature(model, x, granularity="shared"), 0.5)
    inline = Written(WAYS["F.relu"])
    twin = steer(inline, 0.9, example=X, granularity="channel")
    values = torch.tensor([0.1, 0.2, 0.3, 0.4])
    set_beta(twin, {":relu": values})
    expected = steer(inline, {":relu": values}, example=X, granularity="channel")(X)
    assert torch.equal(twin(X), expected)
    assert torch.allclose(twin.double()(X.double()), expected.double(), atol=1e-5)


def test_a_soft_gate_keeps_the_odd_part() -> None:
    x = torch.linspace(-8, 8, 101).double()
    for kind in ("silu", "gelu"):
        for beta in (0.0, 0.3, 0.99):
            assert torch.allclose(soft_gate(x, beta, kind) - soft_gate(-x, beta, kind), x)
        assert torch.equal(soft_gate(x, 1.0, kind), getattr(F, kind)(x))
        assert torch.allclose(soft_gate(x, 1e-6, kind), x / 2, atol=1e-4)
    assert torch.allclose(soft_gate(x, 0.5), curvature_unit(x, 1 / 3, 1.0))  # the gated branch at sharpness ½
    with pytest.raises(ValueError, match="'silu' or 'gelu'"):
        soft_gate(x, 0.5, "mish")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        soft_gate(x, 1.5)


def test_what_is_not_steered_is_named() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    hidden = Written(lambda _, x: inner(x.flatten(1)[:, :4]))  # a module that only a closure knows
    assert torch.equal(
        steer(hidden, 0.5, example=X)(X), curvature_unit(inner[0](hidden.conv(X).flatten(1)[:, :4]), 0.5)
    )
    with pytest.warns(UserWarning, match="MISSED: clamp_min at 0"):
        steer(Written(lambda _, x: F.relu(x).clamp(min=0)), 0.5, example=X)
    turns = itertools.count()
    moody = Written(lambda _, x: F.relu(x) if next(turns) == 0 else F.silu(F.relu(x)))
    with pytest.warns(UserWarning, match="MISSED: silu"):
        twin = steer(moody, 0.5, example=X)
    assert [call.kind for call in steering_of(twin).remaining] == ["silu"]


def test_clear_errors() -> None:
    model = MLP((4,), 2, hidden=(8,))
    with pytest.raises(ValueError, match=r"nothing in Linear can be steered:\nno activation was executed"):
        steer(nn.Linear(2, 2), 0.9, example=torch.zeros(1, 2))
    with pytest.raises(TypeError, match="pass example=inputs"):
        steer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 0.9)
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\], got 1.5"):
        steer(model, 1.5)
    with pytest.raises(ValueError, match=r"mix must lie in \[0, 1\], got -1"):
        steer(model, 0.9, mix=-1)
    with pytest.raises((ValueError, TypeError), match="'chanel'"):
        steer(model, 0.9, granularity="chanel")  # type: ignore[arg-type]
    held = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    held.lock = random.Random  # a class is copied as it is
    held.file = open(__file__)  # noqa: SIM115
    with pytest.raises(TypeError, match=r"cannot be copied .*to steer it in place"):
        steer(held, 0.9, example=torch.zeros(1, 4))
    with steering(held, 0.9, example=torch.zeros(1, 4)):
        assert isinstance(held[1].unit, CurvatureUnit)
    held.file.close()


def test_examples_of_every_form() -> None:
    class Two(nn.Module):
        def forward(self, x: Any, *, y: Any = 0) -> Any:
            return F.relu(x + y)

    for example in (X, (X,), [X], {"x": X, "y": X}):
        assert len(steering_of(steer(Two(), 0.9, example=example)).sites) == 1
    with pytest.raises(TypeError, match="a tensor, a tuple or a dict"):
        steer(Two(), 0.9, example="X")


def test_the_record_says_what_is_where() -> None:
    model = resnet8((3, 8, 8), 4).eval()
    record = steering_of(steer(model, 0.9, granularity="stage"))
    assert [site.name for site in record.sites] == [call.module_names[0] for call in audit_activations(model, X)]
    assert str(record).splitlines()[0] == "relu: CurvatureUnit(beta=0.9, mix=0.5), run 1x"
    assert not record.remaining


def test_an_operation_undoes_itself_on_the_very_model() -> None:
    model, x = everything()
    record = steering_of(steer(model, 0.8, example=x))
    before, steered = model(x), steer(model, 0.8, example=x)(x)
    take_out = operate(model, dict(zip(record.sites, record.units, strict=True)))
    assert torch.equal(model(x), steered)
    take_out()
    assert type(model) is Everything
    assert torch.equal(model(x), before)
