"""The head and what it reads: models of the library and others, every kind of batch, and a model left as found."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trueline.models import MLP, ConvNet, ViT, preact_resnet18, resnet8
from trueline.steer import _features
from trueline.steer._features import features_of, head_of


@pytest.fixture(autouse=True)
def fixed_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.expression = forward

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.expression(self, *args, **named)


X = torch.linspace(-2, 2, 5 * 3).reshape(5, 3)
PLAIN = {"first": nn.Linear(3, 8), "last": nn.Linear(8, 2)}
FOUND = {
    "plain": lambda m, x: m.last(m.first(x).relu()),
    "defined first, run last": lambda m, x: m.last(m.first(x)),
    "view": lambda m, x: m.last(m.first(x)).view(-1),
    "dropout": lambda m, x: F.dropout(m.last(m.first(x)), training=m.training),
    "dict": lambda m, x: {"logits": m.last(m.first(x)), "size": len(x)},
    "tuple": lambda m, x: (m.last(m.first(x)), [None, x]),
}
NOT_FOUND = {
    "log-softmax": lambda m, x: m.last(m.first(x)).log_softmax(dim=1),
    "written over": lambda m, x: m.last(m.first(x)).div_(2),
    "a part": lambda m, x: m.last(m.first(x))[:, :1],
    "function": lambda m, x: F.linear(m.first(x), m.last.weight, m.last.bias),
    "no tensor": lambda m, x: m.last(m.first(x)).tolist(),
}


@pytest.mark.parametrize("way", FOUND)
@pytest.mark.parametrize("inference", [False, True])
def test_the_head_is_found(way: str, inference: bool) -> None:
    with torch.inference_mode(inference):
        assert head_of(Written(FOUND[way], **dict(reversed(PLAIN.items()))), X) == "last"


@pytest.mark.parametrize("way", NOT_FOUND)
def test_what_is_no_head_is_not_guessed(way: str) -> None:
    with pytest.raises(ValueError, match=r"no linear layer returns the output of Written; .* ran: first"):
        head_of(Written(NOT_FOUND[way], **PLAIN), X)


def test_two_heads_are_not_chosen_between() -> None:
    two = Written(lambda m, x: (m.first(x), m.other(x)), other=nn.Linear(3, 2), **PLAIN)
    with pytest.raises(ValueError, match="the linear layers first, other all return the output of Written; name"):
        head_of(two, X)
    with pytest.raises(ValueError, match="Linear layers that ran: none"):
        head_of(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 2, 2))
    deep = nn.Sequential(*[nn.Linear(3, 3) for _ in range(20)], nn.ReLU())
    with pytest.raises(ValueError, match=r"Linear layers that ran last: 12, 13, 14, 15, 16, 17, 18, 19$"):
        head_of(deep, X)


def test_a_linear_layer_is_its_own_head_and_an_alias_has_one_name() -> None:
    layer = nn.Linear(3, 2)
    assert head_of(layer, X) == ""
    assert torch.equal(features_of(layer, X, head=""), X)
    assert head_of(Written(lambda m, x: m.again(x), once=layer, again=layer), X) == "once"


def test_keyword_inputs_and_shape_only_models() -> None:
    assert head_of(Written(lambda m, *, x: m.last(m.first(x)), **PLAIN), x=X) == "last"
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        assert head_of(model, torch.empty(2, 3)) == "2"


MODELS = {
    "mlp": (lambda: MLP((12,), num_classes=3), (12,)),
    "convnet": (lambda: ConvNet((3, 16, 16), num_classes=3), (3, 16, 16)),
    "resnet8": (lambda: resnet8((3, 16, 16), num_classes=3), (3, 16, 16)),
    "preact_resnet18": (lambda: preact_resnet18((3, 8, 8), num_classes=3), (3, 8, 8)),
    "vit": (lambda: ViT((3, 8, 8), num_classes=3), (3, 8, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_head_on_the_features_is_the_model(name: str) -> None:
    make, shape = MODELS[name]
    model, inputs = make().train(), torch.randn(7, *shape)
    head = head_of(model, inputs[:2])
    assert model.get_submodule(head) is model.classifier
    features = features_of(model, inputs, head=head, batch_size=3)
    assert features.shape == (7, model.feature_dim)
    with torch.no_grad():
        torch.testing.assert_close(model.classifier(features), model.eval()(inputs), rtol=1e-4, atol=1e-5)


# Kinds of batches


def test_every_kind_of_batch_gives_the_same_features() -> None:
    model = Written(FOUND["plain"], **PLAIN)
    expected = features_of(model, X, head="last")
    labels = torch.arange(5)
    kinds = [
        [X],
        [X[:2], X[2:]],
        iter([(X[:4], labels[:4]), [X[4:], labels[4:]]]),
        DataLoader(TensorDataset(X, labels), batch_size=2),
        DataLoader(TensorDataset(X), batch_size=5),
    ]
    for batches in kinds:
        torch.testing.assert_close(features_of(model, batches, head="last"), expected, rtol=0, atol=1e-6)
    assert torch.equal(features_of(model, X[:1], head="last"), features_of(model, X, head="last", batch_size=1)[:1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_features_are_single_precision_without_gradient(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)).to(dtype)
    features = features_of(model, X.to(dtype), head="1")
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert features.device.type == "cpu"
    torch.testing.assert_close(features, model[0](X.to(dtype)).detach().float())


def test_features_stay_as_they_were_read() -> None:
    model = Written(lambda m, x: m.last(kept := m.first(x)) + kept.zero_()[:, :2], **PLAIN)
    assert features_of(model, X, head="last").abs().min() > 0


def test_a_head_that_is_called_by_keyword_or_is_no_linear_layer() -> None:
    by_keyword = Written(lambda m, x: m.last(input=m.first(x)), **PLAIN)
    block = nn.Sequential(PLAIN["first"], nn.Sequential(nn.ReLU(), PLAIN["last"]))
    assert torch.equal(features_of(by_keyword, X, head="last"), features_of(block, X, head="1"))


def test_a_shuffling_loader_keeps_drawing_from_the_global_state() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    loader = DataLoader(TensorDataset(X.repeat(20, 1) * torch.arange(100)[:, None]), batch_size=50, shuffle=True)
    first, second = (features_of(model, loader, head="1") for _ in range(2))
    assert not torch.equal(first, second)


# Left as found


class Disturbing(nn.Module):
    """Draws, counts, stores and writes over in its forward, and breaks when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout()
        self.last = nn.Linear(8, 2)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("seen", None)
        self.breaks = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen = x
        self.stored = x
        self.first.weight.requires_grad_(False)
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        if self.breaks:
            raise RuntimeError("as told")
        return self.last(self.drop(self.norm(self.first(x))))


def state(model: nn.Module) -> list[Any]:
    return [
        {name: value.clone() for name, value in model.state_dict().items()},
        [(module.training, dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        sorted(vars(model)),
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
    ]


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("run", [lambda m: head_of(m, X), lambda m: features_of(m, X, head="last", batch_size=2)])
def test_the_model_is_left_as_found(run: Any, breaks: bool) -> None:
    model = Disturbing().train()
    model.norm.eval()
    model(X).sum().backward()
    model.zero_grad()
    model.last.weight.grad = torch.ones(2, 8)
    model.first.weight.requires_grad_(True)
    model.last.register_forward_hook(lambda *_: None)
    model.breaks = breaks
    before, version = state(model), model.last.weight._version
    if breaks:
        with pytest.raises(RuntimeError, match="as told"):
            run(model)
    else:
        run(model)
    for found, expected in zip(state(model), before, strict=True):
        if isinstance(expected, dict):
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        elif isinstance(expected, torch.Tensor):
            assert torch.equal(found, expected)
        else:
            assert found == expected
    assert model.last.weight._version == version
    assert torch.is_grad_enabled()


# What is refused


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        (nn.Linear(3, 2), X, {"head": "fc"}, "Linear has no module 'fc'; its last linear layers: "),
        (Written(FOUND["plain"], **PLAIN), X, {"head": "lats"}, "its last linear layers: first, last"),
        (nn.Linear(3, 2), X, {"head": "", "batch_size": 0}, "batch_size must be at least 1, got 0"),
        (nn.Linear(3, 2), [], {"head": ""}, "needs at least one sample, got none"),
        (nn.Linear(3, 2), X[:0], {"head": ""}, "needs at least one sample, got none"),
        (Written(lambda m, x: m.first(x), **PLAIN), X, {"head": "last"}, "one tensor a pass, but read 0"),
        (Written(lambda m, x: m.last(m.last(x)), last=nn.Linear(3, 3)), X, {"head": "last"}, "but read 2"),
        (nn.Linear(3, 2), X[:, None], {"head": ""}, r"shape \(5, D\) for a batch of 5, got \(5, 1, 3\)"),
        (Written(lambda m, x: m.last(x[:2]), last=nn.Linear(3, 3)), X, {"head": "last"}, r"batch of 5, got \(2, 3\)"),
    ],
)
def test_heads_that_do_not_fit_are_refused(
    model: nn.Module, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        features_of(model, inputs, **options)


def test_what_is_no_model_no_input_or_not_ready_is_refused() -> None:
    with pytest.raises(TypeError, match=r"starts with it, got dict"):
        features_of(nn.Linear(3, 2), [{"x": X}], head="")
    with pytest.raises(TypeError, match="needs an example of the model's inputs"):
        head_of(nn.Linear(3, 2))
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got int"):
        _features._check_model.__wrapped__(3)
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet"):
        head_of(nn.Sequential(nn.LazyLinear(3)), X)
