"""The activation audit: every way of writing a call, a counter of executed operations, and a model left as found."""

import json
import random
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from trueline.models import MLP, ConvNet, ViT, preact_resnet18, resnet8, resnet20
from trueline.steer._as_found import as_found
from trueline.steer._audit_activations import audit_activations


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.expression = forward

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.expression(self, *args, **named)


def _summary(model: nn.Module, *example: Any, **named: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    audit = audit_activations(model, *example, **named)
    return [(call.kind, call.way, call.owner, call.module_names) for call in audit.calls]


def _executed(model: nn.Module, *example: Any) -> Counter[str]:
    """Count every operation of one forward pass."""
    seen: Counter[str] = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    with Counting(), torch.no_grad():
        model(*example)
    return seen


X = torch.linspace(-2, 2, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
WAYS = {
    "F.relu": (lambda _, x: F.relu(x), "relu", "function", False),
    "F.relu in place": (lambda _, x: F.relu(x + 1, inplace=True), "relu", "function", True),
    "torch.relu": (lambda _, x: torch.relu(x), "relu", "function", False),
    "torch.relu_": (lambda _, x: torch.relu_(x + 1), "relu", "function", True),
    "x.relu": (lambda _, x: x.relu(), "relu", "method", False),
    "x.relu_": (lambda _, x: (x + 1).relu_(), "relu", "method", True),
    "aten": (lambda _, x: torch.ops.aten.relu(x), "relu", "function", False),
    "aten overload": (lambda _, x: torch.ops.aten.relu.default(x), "relu", "function", False),
    "inline module": (lambda _, x: nn.ReLU()(x), "relu", "module", False),
    "inline module in place": (lambda _, x: nn.ReLU(inplace=True)(x), "relu", "module", True),
    "F.leaky_relu": (lambda _, x: F.leaky_relu(x, 0.2), "leaky_relu", "function", False),
    "F.gelu": (lambda _, x: F.gelu(x), "gelu", "function", False),
    "F.silu": (lambda _, x: F.silu(x), "silu", "function", False),
    "F.silu in place": (lambda _, x: F.silu(x + 1, inplace=True), "silu", "function", True),
}
NOT_STEERED = {
    "clamp_min": (lambda _, x: torch.clamp_min(x, 0), "clamp_min at 0", "function"),
    "clamp": (lambda _, x: torch.clamp(x, min=0), "clamp_min at 0", "function"),
    "x.clip": (lambda _, x: x.clip(0.0), "clamp_min at 0", "method"),
    "clamp of a tensor": (lambda _, x: torch.clamp(x, torch.tensor(0.0)), "clamp_min at 0", "function"),
    "clamp from 0": (lambda _, x: x.clamp(0, 1), "clamp from 0", "method"),
    "maximum": (lambda _, x: torch.maximum(x, torch.tensor(0.0)), "maximum with 0", "function"),
    "maximum turned": (lambda _, x: torch.maximum(torch.zeros_like(x), x), "maximum with 0", "function"),
    "max": (lambda _, x: torch.max(x, torch.zeros_like(x)), "maximum with 0", "function"),
    "threshold": (lambda _, x: F.threshold(x, 0, 0), "threshold at 0", "function"),
    "threshold elsewhere": (lambda _, x: F.threshold(x, 0.1, 0), "threshold", "function"),
    "F.relu6": (lambda _, x: F.relu6(x), "relu6", "function"),
    "nn.ReLU6": (lambda _, x: nn.ReLU6()(x), "relu6", "module"),
    "hardtanh": (lambda _, x: F.hardtanh(x), "hardtanh", "function"),
    "hardswish": (lambda _, x: F.hardswish(x), "hardswish", "function"),
    "selu": (lambda _, x: F.selu(x), "selu", "function"),
    "elu": (lambda _, x: F.elu(x), "elu", "function"),
    "mish": (lambda _, x: nn.Mish()(x), "mish", "module"),
    "softplus": (lambda _, x: F.softplus(x), "softplus", "function"),
    "tanh": (lambda _, x: x.tanh(), "tanh", "method"),
    "prelu": (lambda _, x: torch.prelu(x, torch.ones(1)), "prelu", "function"),
    "adaptive": (lambda _, x: F.adaptive_max_pool2d(x, 1), "adaptive_max_pool2d", "function"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inference", [False, True])
def test_every_way_of_writing_is_found(way: str, inference: bool) -> None:
    forward, kind, how, in_place = WAYS[way]
    with torch.inference_mode(inference):
        (call,) = audit_activations(Written(forward), X)
    assert (call.order, call.kind, call.way, call.in_place) == (0, kind, how, in_place)
    assert (call.owner, call.module_names, call.shape, call.channels) == ("", (), (2, 3, 8, 8), 3)
    assert call.steerable
    assert call.reason == ""
    line = WAYS[way][0].__code__.co_firstlineno
    assert call.line == f"{__file__}:{line}"


@pytest.mark.parametrize("way", NOT_STEERED)
@pytest.mark.parametrize("inference", [False, True])
def test_other_kinks_are_listed_with_the_reason(way: str, inference: bool) -> None:
    forward, kind, how = NOT_STEERED[way]
    with torch.inference_mode(inference):
        (call,) = audit_activations(Written(forward), X)
    assert (call.kind, call.way, call.steerable) == (kind, how, False)
    assert call.reason


POOLS = {
    "max_pool1d": (lambda _, x: F.max_pool1d(x[0], 2), "max_pool1d", "function"),
    "max_pool2d": (lambda _, x: F.max_pool2d(x, 2), "max_pool2d", "function"),
    "nn.MaxPool2d": (lambda _, x: nn.MaxPool2d(2)(x), "max_pool2d", "module"),
    "max_pool3d": (lambda _, x: F.max_pool3d(x[None], 2), "max_pool3d", "function"),
}


@pytest.mark.parametrize("way", POOLS)
def test_max_pooling_can_be_smoothed(way: str) -> None:
    forward, kind, how = POOLS[way]
    (call,) = audit_activations(Written(forward), X)
    assert (call.kind, call.way, call.steerable, call.reason) == (kind, how, True, "")


def test_a_shape_is_the_callers_own() -> None:
    (call,) = audit_activations(nn.MaxPool1d(2), torch.zeros(2, 3, 8))
    assert call.shape == (2, 3, 8)


def test_what_is_no_activation_is_not_listed() -> None:
    model = Written(lambda _, x: F.normalize(x.clamp_min(1e-6), dim=1).maximum(x) + x.long().clamp(min=0))
    audit = audit_activations(model, X)
    assert audit.calls == ()
    assert str(audit) == "no activation was executed"
    assert audit.to_dict() == []
    assert audit._repr_html_() == "<p>no activation was executed</p>"


def test_options_are_recorded() -> None:
    layers = (nn.LeakyReLU(0.3), nn.GELU(approximate="tanh"), nn.GELU(), nn.MaxPool2d(2, stride=1))
    options = [call.options for call in audit_activations(nn.Sequential(*layers), X)]
    assert options[0] == {"negative_slope": 0.3}
    assert [option["approximate"] for option in options[1:3]] == ["tanh", "none"]
    assert options[3]["kernel_size"] == [2, 2]
    assert options[3]["stride"] == [1, 1]


def test_a_default_slope_is_recorded_too() -> None:
    (call,) = audit_activations(Written(lambda _, x: F.leaky_relu(x)), X)
    assert call.options == {"negative_slope": 0.01}


def test_nested_modules_in_the_order_of_execution() -> None:
    late, early = nn.Sequential(nn.ReLU()), nn.Sequential(nn.Identity(), nn.GELU())
    model = Written(lambda self, x: F.silu(self.late(self.early(x))), late=late, early=early)
    assert _summary(model, X) == [
        ("gelu", "module", "early", ("early.1",)),
        ("relu", "module", "late", ("late.0",)),
        ("silu", "function", "", ()),
    ]


def test_a_shared_module_is_listed_at_each_call_with_all_its_names() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 5), act, nn.Linear(5, 7), nn.Sequential(act))
    model.alias = act
    audit = audit_activations(nn.Sequential(*model[:4]), torch.zeros(2, 3))
    assert [call.module_names for call in audit] == [("1", "3.0")] * 2
    assert [(call.owner, call.channels) for call in audit] == [("", 5), ("3", 7)]
    assert audit_activations(Written(lambda self, x: self.a(x), a=act, b=act), X).calls[0].module_names == ("a", "b")


def test_the_model_may_be_an_activation() -> None:
    assert _summary(nn.ReLU(), X) == [("relu", "module", "", ("",))]


def test_a_module_that_does_more_than_its_activation_is_an_owner() -> None:
    class Scaled(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * F.relu(x)

    assert _summary(nn.Sequential(Scaled()), X) == [("relu", "function", "0", ())]


def test_modules_inside_unregistered_ones_belong_to_what_is_registered() -> None:
    model = nn.Sequential(Written(lambda _, x: nn.Sequential(nn.ReLU())(x)))
    assert _summary(model, X) == [("relu", "module", "0", ())]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer_shows_its_activation_without_the_fused_kernel(activation: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=activation, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    audit = audit_activations(model, torch.zeros(2, 3, 8))
    assert [(call.kind, call.owner, call.shape) for call in audit] == [
        (activation, "layers.0", (2, 3, 16)),
        (activation, "layers.1", (2, 3, 16)),
    ]
    assert len(audit.steerable) == 2
    fused = _executed(model.eval(), torch.zeros(2, 3, 8))
    assert (fused["_transformer_encoder_layer_fwd"], fused[activation]) == (2, 0)


@pytest.mark.parametrize("inference", [False, True])
def test_the_inside_of_a_recurrent_network_is_listed_but_not_steerable(inference: bool) -> None:
    with torch.inference_mode(inference):
        audit = audit_activations(nn.Sequential(nn.RNN(4, 5, nonlinearity="relu")), torch.zeros(3, 2, 4))
    assert audit.count("relu") == 3
    assert all(call.owner == "0" and "rnn_relu" in call.reason for call in audit)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_scripted_modules_are_listed_but_not_steerable() -> None:
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), nn.ReLU())
    for _ in range(3):  # a script is optimised after its first runs
        model(torch.zeros(2, 3))
    audit = audit_activations(model, torch.zeros(2, 3))
    assert [(call.kind, call.way, call.owner, call.steerable) for call in audit] == [
        ("relu", "unknown", "0", False),
        ("relu", "module", "", True),
    ]
    assert "scripted" in audit.calls[0].reason
    assert all(module.training for module in model.modules())


def test_compiled_modules_are_listed_but_not_steerable() -> None:
    inner = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model = nn.Sequential(torch.compile(inner, backend="eager"), nn.GELU())
    model(torch.zeros(2, 3))
    audit = audit_activations(model, torch.zeros(2, 3))
    assert [(call.kind, call.steerable) for call in audit] == [("relu", False), ("gelu", True)]
    assert "compiled" in audit.calls[0].reason
    inner.compile(backend="eager")
    assert [call.steerable for call in audit_activations(inner, torch.zeros(2, 3))] == [False]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: MLP((3, 8, 8), 4, hidden=(6, 5)), {"relu": 2}),
        (lambda: ConvNet((3, 8, 8), 4, width=2), {"relu": 4, "max_pool2d": 3, "adaptive_max_pool2d": 1}),
        (lambda: resnet8((3, 8, 8), 4), {"relu": 1 + 2 * 3}),
        (lambda: resnet20((3, 8, 8), 4), {"relu": 1 + 2 * 9}),
        (lambda: preact_resnet18((3, 8, 8), 4, width=4), {"relu": 2 * 8 + 1}),
        (lambda: ViT((3, 8, 8), 4, dim=16, depth=3), {"gelu": 3}),
    ],
)
def test_counts_of_the_reference_networks(build: Any, expected: dict[str, int]) -> None:
    model = build()
    audit = audit_activations(model, X)
    assert Counter(call.kind for call in audit) == expected
    assert [call.order for call in audit] == list(range(len(audit)))
    assert all(call.way == "module" and len(call.module_names) == 1 for call in audit)
    executed = {name.removesuffix("_with_indices"): n for name, n in _executed(model, X).items()}
    assert {kind: executed[kind] for kind in expected} == expected


def test_channels_per_block_of_a_residual_network() -> None:
    channels = [call.channels for call in audit_activations(resnet8((3, 8, 8), 4), X)]
    assert channels == [16, 16, 16, 32, 32, 64, 64]


def test_several_inputs_keywords_and_a_dict_of_outputs() -> None:
    model = Written(lambda _, x, y, *, gate: {"sum": F.relu(x + y), "gated": F.silu(gate)})
    assert [row[0] for row in _summary(model, X, X, gate=X)] == ["relu", "silu"]
    assert [row[0] for row in _summary(Written(lambda _, *, x: x.relu()), x=X)] == ["relu"]


def test_autocast_and_low_precision() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert [row[0] for row in _summary(model, X)] == ["relu", "gelu"]
        model(X).float().sum().backward()  # the weights cast without gradient are forgotten
    assert model[0].weight.grad is not None
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert [row[0] for row in _summary(model.to(dtype), X.to(dtype))] == ["relu", "gelu"]


class Untidy(nn.Module):
    """Counts, caches, draws, and writes to its parameters, its buffers and its input while it predicts."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3).train()
        self.frozen = nn.Sequential(nn.Dropout(0.5), nn.ReLU(inplace=True)).eval()
        self.weight = nn.Parameter(torch.randn(3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3, 1, 1), requires_grad=False)
        self.register_buffer("steps", torch.zeros(2))
        self.register_buffer("mean", torch.zeros(3))
        self.calls = 0
        self.cache: list[torch.Tensor] = []
        self.fails = fails
        self.frozen.register_forward_hook(lambda *_: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.cache.append(x)
        self.steps[0] += 1
        self.mean = self.mean + 1
        self.weight.data.clamp_(min=0.5)
        self.bias.requires_grad_(True)
        np.random.rand()  # noqa: NPY002
        x.add_(torch.rand_like(x))
        x = F.batch_norm(self.bn(x), self.bn.running_mean, self.bn.running_var, training=True)
        x = F.dropout(self.frozen(x), training=True) * self.weight
        if self.fails:
            raise RuntimeError("out of luck")
        return F.relu(x)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_found(fails: bool) -> None:
    model = Untidy(fails=fails)
    example = X.clone()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    flags = [
        (module.training, dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in model.modules()
    ]
    draws = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    hooks = _global_hooks()
    if fails:
        with pytest.raises(RuntimeError, match="out of luck") as caught:
            audit_activations(model, example)
        assert caught.value.__notes__ == ["while auditing Untidy on an example of (2, 3, 8, 8) float32"]
    else:
        assert audit_activations(model, example).count("relu") == 2
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert after.keys() == tensors.keys()
    assert all(after[name] is tensor for name, tensor in tensors.items())
    assert flags == [(m.training, dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()]
    assert model.weight.requires_grad
    assert not model.bias.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (model.calls, model.cache) == (0, [])
    assert torch.equal(example, X)
    assert torch.equal(torch.get_rng_state(), draws[0])
    assert np.array_equal(np.random.get_state()[1], draws[1])  # noqa: NPY002
    assert _global_hooks() == hooks
    assert torch.is_grad_enabled()
    assert not torch.overrides._get_current_function_mode_stack()


def test_pythons_random_state_is_left_as_found() -> None:
    # Tested one level below: the checks of annotations draw from it too, when the audit returns its list.
    state = random.getstate()
    with as_found(nn.ReLU(), X):
        random.random()
    assert random.getstate() == state


def _global_hooks() -> list[int]:
    module = sys.modules["torch.nn.modules.module"]
    names = (name for name in dir(module) if name.startswith("_global_") and name.endswith("hooks"))
    return [len(getattr(module, name)) for name in names]


def test_a_failure_that_the_model_catches_keeps_the_owners_right() -> None:
    def attempt(self: Any, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.bad(x)
        except ValueError:
            return F.relu(x)

    def fail(_: Any, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    assert _summary(Written(attempt, bad=Written(fail)), X) == [("relu", "function", "", ())]


def test_the_audit_repeats_itself() -> None:
    model = resnet8((3, 8, 8), 4)
    assert audit_activations(model, X) == audit_activations(model, X)


def test_the_table_is_aligned_and_escaped() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    model.add_module("<b>", nn.ReLU(inplace=True))
    audit = audit_activations(model, X)
    header, *rows, totals = str(audit).splitlines()
    column = header.index("shape")
    assert [row[column:].split()[0] for row in rows] == ["2x3x8x8", "2x3x8x8", "2x3x4x4"]
    assert totals == "3 activations executed (2 relu, 1 max_pool2d); 3 can be steered"
    assert "&lt;b&gt;" in audit._repr_html_()
    assert "<b>" not in audit._repr_html_()
    assert (len(audit.steerable), len(audit.unsteerable)) == (3, 0)
    rows_of_json = json.loads(json.dumps(audit.to_dict()))
    assert [row["kind"] for row in rows_of_json] == ["relu", "max_pool2d", "relu"]
    assert rows_of_json[2]["module_names"] == ["<b>"]


def test_bad_calls_say_what_is_missing() -> None:
    with pytest.raises(TypeError):
        audit_activations(torch.relu, X)
    with pytest.raises(TypeError, match="pass a batch"):
        audit_activations(nn.ReLU())
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet"):
        audit_activations(nn.Sequential(nn.LazyLinear(3)), X)
    with pytest.raises(RuntimeError) as caught:
        audit_activations(nn.Linear(3, 2), torch.zeros(4, 5))
    assert caught.value.__notes__ == ["while auditing Linear on an example of (4, 5) float32"]


def test_an_empty_batch_is_an_example_too() -> None:
    (call,) = audit_activations(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(0, 3))
    assert call.shape == (0, 4)
