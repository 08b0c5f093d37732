"""What both finite differences promise: the model as after a plain step, and the same chance in both passes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.regularize import (
    BackwardGradientRegularisation,
    DoubleBackpropagation,
    ForwardGradientRegularisation,
)

FINITE = [ForwardGradientRegularisation, BackwardGradientRegularisation]
SIGNS = {ForwardGradientRegularisation: 1, BackwardGradientRegularisation: -1}


class Surroundings(nn.Module):
    """A model whose forward draws, counts, normalises and drops."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(5, 8), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.5)
        self.last, self.unused = nn.Linear(8, 3), nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))
        self.fails_at = 0
        self.masks: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("broken")
        noise = torch.rand(()).item() + np.random.random()  # noqa: NPY002
        mask = self.drop(torch.ones(len(x), 8, dtype=x.dtype))
        self.masks.append(mask)
        return self.last(mask * self.norm(self.first(x)).tanh()) * (1 + noise)


@pytest.fixture
def model() -> Surroundings:
    torch.manual_seed(0)
    return Surroundings().double()


@pytest.fixture
def batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, 5, dtype=torch.float64, generator=generator), torch.arange(12) % 3


def closure_of(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], torch.Tensor]:
    return lambda: F.cross_entropy(model(batch[0]), batch[1])


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def chance() -> list[Any]:
    """Without Python's own state, which the suite's type checker draws from."""
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()]  # noqa: NPY002


def seed_all() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_gamma_zero_is_a_plain_step_to_the_bit(model: Surroundings, batch: Any) -> None:
    start = state_of(model)
    seed_all()
    loss = closure_of(model, batch)()
    loss.backward()
    expected, after, drawn = gradients(model), state_of(model), chance()
    for method in (*(partial_of(each) for each in FINITE), lambda m: DoubleBackpropagation(m, gamma=0.0)):
        model.load_state_dict(start)
        model.zero_grad()
        seed_all()
        found = method(model).backward(closure_of(model, batch))
        assert torch.equal(found, loss)
        assert not found.requires_grad
        assert same(gradients(model), expected)
        assert same(state_of(model), after)
        assert chance() == drawn
        assert len(model.masks) == 2  # one pass
        model.masks.pop()


def partial_of(kind: Any, gamma: float = 0.0, epsilon: float = 0.3) -> Callable[[nn.Module], Any]:
    return lambda model: kind(model, gamma=gamma, epsilon=epsilon)


@pytest.mark.parametrize("kind", FINITE)
def test_a_step_leaves_everything_but_the_gradient_as_a_plain_one_does(
    kind: Any, model: Surroundings, batch: Any
) -> None:
    start = state_of(model)
    seed_all()
    loss = closure_of(model, batch)()
    loss.backward()
    plain, after, drawn = gradients(model), state_of(model), chance()
    model.load_state_dict(start)
    model.zero_grad()
    seed_all()
    found = kind(model, gamma=0.2, epsilon=0.3).backward(closure_of(model, batch))
    assert torch.equal(found, loss)
    assert same(state_of(model), after)
    assert model.calls == 1
    assert model.norm.num_batches_tracked == 1
    assert chance() == drawn
    assert gradients(model).keys() == plain.keys()
    assert not same(gradients(model), plain)
    assert model.unused.weight.grad is None


@pytest.mark.parametrize("kind", FINITE)
def test_it_costs_two_passes_with_the_same_masks_and_statistics(kind: Any, model: Surroundings, batch: Any) -> None:
    """By hand: the gradient at a copy of the model that starts from the same buffers and random state."""
    inputs, labels = batch
    seed_all()
    moved = Surroundings().double()
    moved.load_state_dict(state_of(model))
    gamma, shift = 0.2, 0.3 * SIGNS[kind]
    seed_all()
    closure_of(moved, batch)().backward()
    first = gradients(moved)
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            if name in first:
                parameter += shift * first[name]
    moved.load_state_dict({name: value for name, value in state_of(model).items() if "norm.running" in name}, False)
    moved.zero_grad()
    seed_all()
    F.cross_entropy(moved(inputs), labels).backward()
    second = gradients(moved)
    seed_all()
    kind(model, gamma=gamma, epsilon=0.3).backward(closure_of(model, batch))
    assert len(model.masks) == 2
    assert torch.equal(model.masks[0], model.masks[1])
    for name, slope in gradients(model).items():
        torch.testing.assert_close(slope, first[name] + gamma / shift * (second[name] - first[name]))


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_error_in_either_pass_leaves_weights_buffers_and_gradients(
    kind: Any, fails_at: int, model: Surroundings, batch: Any
) -> None:
    model.last.bias.grad = torch.ones(3, dtype=torch.float64)
    found, weights = model.last.bias.grad, dict(model.named_parameters())
    buffers = {name: id(buffer) for name, buffer in model.named_buffers()}
    before = state_of(model)
    model.fails_at = fails_at
    calls = 0

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        model.fails_at = int(model.calls) + 1 if calls == fails_at else 0
        return closure_of(model, batch)()

    with pytest.raises(RuntimeError, match="broken"):
        kind(model, gamma=0.2, epsilon=0.3).backward(closure)
    assert all(parameter is weights[name] for name, parameter in model.named_parameters())
    for name, parameter in weights.items():
        assert torch.equal(parameter, before[name])
    assert model.last.bias.grad is found
    assert found.tolist() == [1, 1, 1]
    assert model.first.weight.grad is None
    assert {name: id(buffer) for name, buffer in model.named_buffers()} == buffers
    assert model.calls == 1


@pytest.mark.parametrize("kind", FINITE)
def test_gradients_are_added_to_what_is_there(kind: Any, model: Surroundings, batch: Any) -> None:
    model.eval()
    seed_all()
    regularisation = kind(model, gamma=0.2, epsilon=0.3)
    regularisation.backward(closure_of(model, batch))
    once = gradients(model)
    seed_all()
    regularisation.backward(closure_of(model, batch))
    for name, slope in gradients(model).items():
        torch.testing.assert_close(slope, 2 * once[name])


@pytest.mark.parametrize("kind", [*FINITE, DoubleBackpropagation])
def test_parts_of_a_batch_are_one_batch(kind: Any, generator: torch.Generator) -> None:
    """The gradient of the whole moves the weights, not that of a part."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs, labels = torch.randn(8, 4, dtype=torch.float64, generator=generator), torch.arange(8) % 3
    options = {"gamma": 0.2} | ({} if kind is DoubleBackpropagation else {"epsilon": 0.5})
    whole = kind(model, **options).backward(lambda: F.cross_entropy(model(inputs), labels))
    expected = gradients(model)
    model.zero_grad()

    def part(rows: slice) -> Callable[[], torch.Tensor]:
        return lambda: F.cross_entropy(model(inputs[rows]), labels[rows], reduction="sum") / 8

    parts = kind(model, **options).backward(part(slice(3)), part(slice(3, 8)))
    torch.testing.assert_close(parts, whole)
    for name, slope in gradients(model).items():
        torch.testing.assert_close(slope, expected[name])


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("outside", [False, True])
def test_autocast_sees_the_moved_weights(kind: Any, outside: bool, generator: torch.Generator) -> None:
    """Inside one autocast context, copies of the weights are kept; those of the old weights must not be used again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, labels = torch.randn(32, 4, generator=generator), torch.arange(32) % 3

    def plain() -> torch.Tensor:
        return F.cross_entropy(model(inputs).float(), labels)

    def cast() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return plain()

    exact = kind(model, gamma=0.0, epsilon=0.5)
    exact.backward(plain)
    without = gradients(model)
    model.zero_grad()
    regularisation = kind(model, gamma=0.5, epsilon=0.5)
    regularisation.backward(plain)
    expected = gradients(model)
    model.zero_grad()
    if outside:
        with torch.autocast("cpu", torch.bfloat16):
            regularisation.backward(plain)
    else:
        regularisation.backward(cast)
    for name, slope in gradients(model).items():
        turn, found = expected[name] - without[name], slope - without[name]
        assert F.cosine_similarity(turn.flatten(), found.flatten(), dim=0) > 0.9, name


def test_frozen_parameters_stay_and_get_no_gradient(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    seen = []

    def closure() -> torch.Tensor:
        seen.append([parameter.detach().clone() for parameter in model.parameters()])
        return model(torch.ones(2, 4)).square().mean()

    ForwardGradientRegularisation(model, gamma=0.1, epsilon=0.1).backward(closure)
    assert model[0].weight.grad is None
    assert torch.equal(seen[0][0], seen[1][0])
    assert not any(torch.equal(*pair) for pair in list(zip(*seen, strict=True))[1:])


def test_sparse_gradients_work() -> None:
    def grad(sparse: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Embedding(5, 3, sparse=sparse)
        index = torch.tensor([0, 3, 3])
        ForwardGradientRegularisation(model, gamma=0.2, epsilon=0.5).backward(lambda: model(index).pow(3).mean())
        assert model.weight.grad is not None
        return model.weight.grad.to_dense()

    torch.testing.assert_close(grad(True), grad(False))


def test_no_grad_around_a_step_does_not_matter(model: Surroundings, batch: Any) -> None:
    regularisation = ForwardGradientRegularisation(model.eval(), gamma=0.2, epsilon=0.3)
    seed_all()
    regularisation.backward(closure_of(model, batch))
    expected = gradients(model)
    model.zero_grad()
    seed_all()
    with torch.no_grad():
        regularisation.backward(closure_of(model, batch))
    assert same(gradients(model), expected)


def test_weight_decay_in_the_optimiser_is_no_part_of_the_step() -> None:
    def weight_after(decay: float) -> torch.Tensor:
        model = nn.Linear(2, 1, bias=False)
        nn.init.constant_(model.weight, 2.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=decay)
        ForwardGradientRegularisation(model, gamma=0.1, epsilon=0.5).backward(lambda: model.weight.pow(4).sum())
        optimizer.step()
        return model.weight.detach()

    torch.testing.assert_close(weight_after(0.0) - weight_after(0.3), torch.full((1, 2), 0.1 * 0.3 * 2.0))


# Errors


@pytest.mark.parametrize("kind", [*FINITE, DoubleBackpropagation])
def test_what_does_not_fit_is_refused(kind: Any) -> None:
    options = {} if kind is DoubleBackpropagation else {"epsilon": 0.5}
    model = nn.Linear(2, 2)
    for gamma in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="gamma must be at least 0"):
            kind(model, gamma=gamma, **options)
    if options:
        for epsilon in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="epsilon must be positive"):
                kind(model, gamma=0.1, epsilon=epsilon)
    with pytest.raises(TypeError):
        kind(lambda x: x, gamma=0.1, **options)
    regularisation = kind(model, gamma=0.1, **options)
    for closure, error, words in (
        (lambda: model(torch.ones(3, 2)), ValueError, r"one number, got shape \(3, 2\); return losses.mean\(\)"),
        (lambda: torch.tensor(1.0), ValueError, "the loss has no gradient"),
        (lambda: model(torch.ones(3, 2)).mean().item(), TypeError, "floating-point tensor, got float"),
    ):
        with pytest.raises(error, match=words):
            regularisation.backward(closure)
    with pytest.raises(ValueError, match="at least one closure"):
        regularisation.backward()
    with pytest.raises(ValueError, match="no parameter with requires_grad"):
        kind(model.requires_grad_(False), gamma=0.1, **options).backward(lambda: torch.zeros(()))
