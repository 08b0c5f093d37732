"""Smoothed gradients: the closed form of one unit, the noise that they stand for, and their bound."""

import json
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.models import MLP, ViT, resnet8
from trueline.steer import smoothed_gradient, steer

W = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)


def one_unit(weight: torch.Tensor = W) -> nn.Module:
    model = nn.Sequential(nn.Linear(len(weight), 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(weight[None])
    return model


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return MLP((6,), 4, hidden=(16, 16)).double()


# Closed forms


@pytest.mark.parametrize("sharpness", [1.0, 2.5, 10.0, 1e4])
def test_one_unit_has_the_gradient_of_its_softplus(sharpness: float) -> None:
    x = drawn(40, 3)
    record = smoothed_gradient(one_unit(), x, sharpness=sharpness)
    torch.testing.assert_close(record.gradient, (sharpness * x @ W).sigmoid()[:, None] * W, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(record.plain, (x @ W > 0).double()[:, None] * W)
    on = x @ W > 0
    torch.testing.assert_close(record.cosine[on], torch.ones(int(on.sum()), dtype=torch.float64))
    assert record.cosine[~on].isnan().all()  # the plain gradient is zero there


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_one_unit_is_smoothed_as_by_logistic_noise(sharpness: float) -> None:
    """The plain gradient under logistic noise of scale 1/b on w·x has the smoothed one as its mean."""
    draws = 40_000
    uniform = torch.rand(draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = (uniform.log() - (-uniform).log1p()) / sharpness
    for x in (torch.tensor([[0.2, 0.1, 0.0]]), torch.tensor([[-0.3, -0.1, 0.4]])):
        x = x.double()
        moved = x + noise[:, None] * W / W.square().sum()  # which adds the noise to w·x
        sampled = smoothed_gradient(one_unit(), moved, sharpness=math.inf).plain
        deviation = sampled.std(dim=0) / math.sqrt(draws)
        smooth = smoothed_gradient(one_unit(), x, sharpness=sharpness).gradient[0]
        assert ((sampled.mean(dim=0) - smooth).abs() <= 4 * deviation).all()  # misses once in 16,000 runs


@pytest.mark.parametrize("sharpness", [1.0, 5.0, 20.0])
def test_the_gradient_of_one_unit_moves_at_a_bounded_rate(sharpness: float) -> None:
    """By at most ``b/4·‖w‖²`` times the distance, which is reached across the corner; the plain one jumps."""
    centre = torch.zeros(1, 3, dtype=torch.float64)
    bound = sharpness / 4 * W.square().sum()
    for step in (1e-4, 1e-2, 1.0):
        ends = torch.cat([centre - step * W, centre + step * W])
        record = smoothed_gradient(one_unit(), ends, sharpness=sharpness)
        rate = (record.gradient[1] - record.gradient[0]).norm() / (ends[1] - ends[0]).norm()
        assert rate <= bound * (1 + 1e-9)
        assert torch.equal(record.plain[1] - record.plain[0], W)
        if step == 1e-4:
            assert rate.item() == pytest.approx(bound.item(), rel=1e-3)


def test_a_leaky_unit_keeps_its_slope() -> None:
    model = nn.Sequential(one_unit()[0], nn.LeakyReLU(0.2)).double()
    x = drawn(10, 3)
    expected = (0.2 + 0.8 * (3.0 * x @ W).sigmoid())[:, None] * W
    torch.testing.assert_close(smoothed_gradient(model, x, sharpness=3.0).gradient, expected)


# Networks


def test_it_is_the_gradient_of_the_steered_twin() -> None:
    model, x, targets = mlp(), drawn(8, 6), torch.arange(8) % 4
    record = smoothed_gradient(model, x, targets, sharpness=4.0)
    twin = steer(model, 0.75, mix=0.0, example=x)
    for network, found in ((twin, record.gradient), (model, record.plain)):
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(network(leaf).gather(1, targets[:, None]).sum(), leaf)
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(record.cosine, F.cosine_similarity(record.gradient, record.plain, dim=1))
    assert torch.equal(record.kept, twin(x).argmax(dim=1) == model(x).argmax(dim=1))
    assert torch.equal(record.targets, targets)
    predicted = smoothed_gradient(model, x, sharpness=4.0)
    assert torch.equal(predicted.targets, model(x).argmax(dim=1))


def test_infinite_sharpness_is_the_plain_gradient_and_large_comes_near() -> None:
    x = drawn(30, 6)
    sharp = smoothed_gradient(mlp(), x, sharpness=math.inf)
    assert torch.equal(sharp.gradient, sharp.plain)
    assert sharp.kept.all()
    cosines = [smoothed_gradient(mlp(), x, sharpness=b).cosine.mean().item() for b in (1.0, 10.0, 100.0, 1e5)]
    assert cosines == sorted(cosines)
    assert cosines[-1] > 1 - 1e-6


def test_where_the_prediction_is_lost_the_class_explained_is_that_of_the_plain_network() -> None:
    model, x = mlp(), drawn(300, 6)
    record = smoothed_gradient(model, x, sharpness=1.0)
    assert not record.kept.all()
    assert torch.equal(record.targets, model(x).argmax(dim=1))
    assert torch.equal(record.gradient, smoothed_gradient(model, x, record.targets, sharpness=1.0).gradient)


def test_smooth_activations_and_pooling_stay() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)
    ).double()
    x = drawn(3, 2, 6, 6)
    leaf = x.clone().requires_grad_()
    hidden = model[4](model[3](model[2](F.gelu(model[0](leaf)))))
    logits = model[6](F.softplus(hidden, beta=3.0, threshold=60))
    targets = model(x).argmax(dim=1)
    (expected,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaf)
    torch.testing.assert_close(smoothed_gradient(model, x, sharpness=3.0).gradient, expected)


def test_chunks_and_log_odds_and_modes_change_nothing() -> None:
    model, x = mlp(), drawn(7, 6)
    whole = smoothed_gradient(model, x)
    for size in (1, 3, 100):
        torch.testing.assert_close(smoothed_gradient(model, x, chunk_size=size).gradient, whole.gradient)
    with torch.no_grad():
        assert torch.equal(smoothed_gradient(model, x).gradient, whole.gradient)
    with torch.inference_mode():
        torch.testing.assert_close(smoothed_gradient(model, x).gradient, whole.gradient)
    odds = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0)).double()
    both = [smoothed_gradient(odds, x, torch.full((7,), target)) for target in (0, 1)]
    assert torch.equal(both[0].gradient, both[1].gradient)
    assert both[0].gradient.abs().sum() > 0
    image = smoothed_gradient(resnet8((3, 8, 8), 4), torch.ones(2, 3, 8, 8))
    assert image.gradient.shape == (2, 3, 8, 8)
    assert image.kept.dtype == torch.bool


# The record


def test_the_record_says_what_it_holds() -> None:
    record = smoothed_gradient(one_unit(), torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64))
    held = json.loads(json.dumps(record.to_dict()))
    assert held["cosine"][1] is None
    assert held["sharpness"] == 10.0
    assert str(record) == (
        "gradients smoothed at sharpness 10, 2 samples: mean cosine 1, least 1; the prediction is kept at "
        f"{int(record.kept.sum())}"
    )
    dead = smoothed_gradient(one_unit(), torch.tensor([[-1.0, 0, 0]], dtype=torch.float64), sharpness=math.inf)
    assert "no cosine defined" in str(dead)
    assert dead.to_dict()["sharpness"] is None


# As found


class Counting(nn.Module):
    """A model that draws, counts its calls, and can fail once its activation is another."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        self.register_buffer("calls", torch.zeros(()))
        self.fails = fails

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.fails and type(self.body[2]) is not nn.ReLU:
            raise ArithmeticError("not this time")
        return self.body(x + 0 * torch.rand(()))


def state_of(model: nn.Module) -> list[Any]:
    modules = [(name, id(module), type(module)) for name, module in model.named_modules()]
    tensors = [(name, id(tensor)) for name, tensor in [*model.named_parameters(), *model.named_buffers()]]
    values = [value.tolist() for value in model.state_dict().values()]
    flags = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    grads = [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in model.parameters()]
    return [modules, tensors, values, flags, hooks, grads, list(vars(model)), torch.get_rng_state().tolist()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(fails: bool) -> None:
    model = Counting(fails).train()
    model.body[1].eval()
    model.body[0].weight.requires_grad_(False)
    model.body[4].bias.grad = torch.ones(3)
    kept, x = state_of(model), drawn(4, 6).float()
    before = x.clone()
    if fails:
        with pytest.raises(ArithmeticError):
            smoothed_gradient(model, x)
    else:
        smoothed_gradient(model, x)
    assert state_of(model) == kept
    assert torch.equal(x, before)
    assert not x.requires_grad


# Errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sharpness": 0.5}, "sharpness must be at least 1, got 0.5"),
        ({"sharpness": math.nan}, "sharpness must be at least 1, got nan"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"inputs": torch.zeros(0, 6)}, r"inputs must have shape \(N, ...\) with N >= 1, got \(0, 6\)"),
        ({"inputs": torch.zeros(6)}, "inputs must have shape"),
        ({"inputs": torch.full((2, 6), math.nan)}, "logits must be finite"),
        ({"targets": torch.tensor([0, 3, 4])}, r"labels must lie in \[0, 3\], got values from 0 to 4"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    model = MLP((6,), 4, hidden=(5,))
    kept = state_of(model)
    with pytest.raises(ValueError, match=words):
        smoothed_gradient(model, **{"inputs": torch.zeros(3, 6)} | options)
    assert state_of(model) == kept


def test_models_without_a_relu_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing in Linear can be steered"):
        smoothed_gradient(nn.Linear(6, 2), torch.zeros(3, 6))
    with pytest.raises(ValueError, match="ViT has no ReLU or LeakyReLU to smooth; its activations: gelu"):
        smoothed_gradient(ViT((3, 32, 32), 4), torch.zeros(2, 3, 32, 32))
    with pytest.raises(TypeError):
        smoothed_gradient(F.relu, torch.zeros(3, 6))


def test_models_that_are_no_classifiers_are_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(x), x

    class Constant(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(torch.ones(len(x), 3))

    class Mean(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(x).mean(dim=0, keepdim=True)

    x = torch.zeros(3, 6)
    with pytest.raises(TypeError, match="must return a tensor of logits"):
        smoothed_gradient(Pair(), x)
    with pytest.raises(ValueError, match="do not depend on the inputs"):
        smoothed_gradient(Constant(), x)
    with pytest.raises(ValueError, match=r"one row of logits for each input, got \(1, 6\) for 3"):
        smoothed_gradient(Mean(), x)
