"""Gradient regularisation: what the two finite differences and the exact form have in common, and where they differ."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import gradient_regularisation as oracle
from torch import nn

from trueline.regularize import (
    BackwardGradientRegularisation,
    DoubleBackpropagation,
    ForwardGradientRegularisation,
    flooding,
)

Loss = Callable[[torch.Tensor], torch.Tensor]


class Point(nn.Module):
    """A model that is nothing but its parameters."""

    def __init__(self, at: torch.Tensor) -> None:
        super().__init__()
        self.at = nn.Parameter(at.clone())


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(kind: Any, loss: Loss, at: torch.Tensor, **options: float) -> torch.Tensor:
    model = Point(at)
    kind(model, **options).backward(lambda: loss(model.at))
    assert torch.equal(model.at, at)
    assert model.at.grad is not None
    return model.at.grad


def bowl(at: torch.Tensor) -> torch.Tensor:
    """A loss that is not quadratic, and has curvature of both signs."""
    return (at.pow(4) / 20 + at.cos()).sum() + at.prod()


# Closed forms


@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 10.0])
def test_of_a_quadratic_all_three_are_exact(epsilon: float) -> None:
    """``L = ½x'Ax + b'x``: ``G = g + γAg`` for every ε."""
    square, offset, at = drawn(5, 5), drawn(5, seed=1), drawn(5, seed=2)
    matrix = square + square.T

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x @ matrix @ x / 2 + offset @ x

    slope = matrix @ at + offset
    expected = slope + 0.3 * matrix @ slope
    for found in (
        gradient(ForwardGradientRegularisation, loss, at, gamma=0.3, epsilon=epsilon),
        gradient(BackwardGradientRegularisation, loss, at, gamma=0.3, epsilon=epsilon),
        gradient(DoubleBackpropagation, loss, at, gamma=0.3),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_of_a_line_all_three_are_plain() -> None:
    """The Hessian is zero; a gradient without a graph of its own must not be an error."""
    slope, at = drawn(4), drawn(4, seed=1)
    for kind, options in (
        (ForwardGradientRegularisation, {"epsilon": 0.5}),
        (BackwardGradientRegularisation, {"epsilon": 0.5}),
        (DoubleBackpropagation, {}),
    ):
        torch.testing.assert_close(gradient(kind, lambda x: slope @ x, at, gamma=0.3, **options), slope)


def test_of_a_quartic_the_larger_step_is_stronger_uphill_and_weaker_downhill() -> None:
    """``L = x⁴/4``: ``G = x³ + (γ/s)·((x + s·x³)³ - x³)``."""
    at = torch.tensor([1.5], dtype=torch.float64)
    for kind, sign in ((ForwardGradientRegularisation, 1), (BackwardGradientRegularisation, -1)):
        found = []
        for epsilon in (0.01, 0.1, 0.3):
            shift = sign * epsilon
            (value,) = gradient(kind, lambda x: x.pow(4).sum() / 4, at, gamma=0.2, epsilon=epsilon).tolist()
            assert value == pytest.approx(1.5**3 + 0.2 / shift * ((1.5 + shift * 1.5**3) ** 3 - 1.5**3), rel=1e-12)
            found.append(value)
        assert found == sorted(found, reverse=sign < 0)


def test_gamma_equal_to_epsilon_is_sharpness_aware_minimisation_without_normalisation() -> None:
    at = drawn(3)
    slope = torch.autograd.functional.jacobian(bowl, at)
    moved = torch.autograd.functional.jacobian(bowl, at + 0.2 * slope)
    assert torch.equal(gradient(ForwardGradientRegularisation, bowl, at, gamma=0.2, epsilon=0.2), moved)


def test_at_a_stationary_point_there_is_no_gradient() -> None:
    at = torch.zeros(2, dtype=torch.float64)
    for kind in (ForwardGradientRegularisation, BackwardGradientRegularisation):
        assert gradient(kind, lambda x: x.square().sum(), at, gamma=0.2, epsilon=0.2).tolist() == [0, 0]


# Convergence


@pytest.mark.parametrize("kind", [ForwardGradientRegularisation, BackwardGradientRegularisation])
def test_the_error_of_a_finite_difference_falls_with_its_step(kind: Any) -> None:
    at = drawn(3)
    exact = gradient(DoubleBackpropagation, bowl, at, gamma=0.3)
    errors = [
        (gradient(kind, bowl, at, gamma=0.3, epsilon=epsilon) - exact).norm().item() for epsilon in (1e-2, 1e-3, 1e-4)
    ]
    orders = [math.log10(large / small) for large, small in itertools.pairwise(errors)]
    assert orders == pytest.approx([1, 1], abs=0.05)


def test_the_exact_gradient_is_that_of_the_penalised_loss() -> None:
    at = drawn(3)
    hessian = torch.autograd.functional.hessian(bowl, at)
    slope = torch.autograd.functional.jacobian(bowl, at)
    torch.testing.assert_close(gradient(DoubleBackpropagation, bowl, at, gamma=0.3), slope + 0.3 * hessian @ slope)


# Flooding


@pytest.mark.parametrize("downwards", [True, False])
def test_two_steps_of_flooding_are_one_of_regularisation(downwards: bool) -> None:
    """A step that crosses the level and the step back move by ``-η·ΔR`` with γ = ε = η."""
    at, rate = drawn(3), 0.05
    slope = torch.autograd.functional.jacobian(bowl, at)
    here = bowl(at).item()
    there = bowl(at - rate * slope if downwards else at + rate * slope).item()
    level = (here + there) / 2
    assert (here > level > there) if downwards else (here < level < there)

    model = Point(at)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(2):
        optimizer.zero_grad()
        value = flooding(bowl(model.at) + 10, level + 10)
        value.backward()
        optimizer.step()
    kind = BackwardGradientRegularisation if downwards else ForwardGradientRegularisation
    extra = gradient(kind, bowl, at, gamma=rate, epsilon=rate) - slope
    torch.testing.assert_close(model.at.detach(), at - rate * extra, rtol=0, atol=1e-15)


# A diagonal linear network


@pytest.mark.parametrize(("kind", "epsilon"), [(DoubleBackpropagation, 0.0), (ForwardGradientRegularisation, 0.2)])
def test_a_diagonal_network_forgets_its_start(kind: Any, epsilon: float) -> None:
    """``β = u² - v²``: ``u_i·v_i`` falls as ``α_i²·exp(-8γ∫r_i²dt)`` with ``r = ∂L/∂β``, and faster with a large step.

    The time steps of the exact flow are small enough for four digits.
    """
    data, alpha, gamma, rate, steps = drawn(20, 4), 0.3, 0.05, 2e-3, 1500
    target = data @ torch.tensor([1.0, -0.5, 0.0, 0.0], dtype=torch.float64)

    def loss(at: torch.Tensor) -> torch.Tensor:
        return (data @ (at[0].square() - at[1].square()) - target).square().sum() / 40

    model = Point(torch.full((2, 4), alpha, dtype=torch.float64))
    options = {"epsilon": epsilon} if epsilon else {}
    regularisation = kind(model, gamma=gamma, **options)
    integral = torch.zeros(4, dtype=torch.float64)
    for _ in range(steps):
        with torch.no_grad():
            beta = model.at[0].square() - model.at[1].square()
            integral += rate * (data.T @ (data @ beta - target) / 20).square()
        model.zero_grad()
        regularisation.backward(lambda: loss(model.at))
        with torch.no_grad():
            model.at -= rate * model.at.grad
    product = model.at.detach().prod(dim=0)
    predicted = alpha**2 * torch.exp(-8 * gamma * integral)
    assert (predicted < 0.95 * alpha**2).any()  # there is something to predict
    if kind is DoubleBackpropagation:
        torch.testing.assert_close(product, predicted, rtol=5e-3, atol=0)
    else:
        assert product.prod() < 0.99 * predicted.prod()


# Plain loops


def test_plain_loops_agree() -> None:
    inputs, targets = drawn(6, 2), drawn(6, seed=1)

    def torch_loss(at: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(inputs @ at[:4].reshape(2, 2) + at[4:6])
        return (hidden @ at[6:] - targets).square().mean()

    def plain_loss(at: list[float]) -> float:
        total = 0.0
        for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
            out = 0.0
            for unit in range(2):
                out += at[6 + unit] * math.tanh(row[0] * at[unit] + row[1] * at[2 + unit] + at[4 + unit])
            total += (out - target) ** 2
        return total / len(targets)

    at = drawn(8, seed=2)
    pairs = (
        (gradient(ForwardGradientRegularisation, torch_loss, at, gamma=0.2, epsilon=0.5), oracle.forward),
        (gradient(BackwardGradientRegularisation, torch_loss, at, gamma=0.2, epsilon=0.5), oracle.backward),
    )
    for found, twin in pairs:
        assert found.tolist() == pytest.approx(twin(plain_loss, at.tolist(), 0.2, 0.5), abs=1e-7)
    exact = gradient(DoubleBackpropagation, torch_loss, at, gamma=0.2)
    assert exact.tolist() == pytest.approx(oracle.double(plain_loss, at.tolist(), 0.2), abs=1e-5)


def test_attention_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    x = drawn(2, 3, 8)
    loss = DoubleBackpropagation(layer, gamma=0.1).backward(lambda: layer(x).pow(3).mean())
    assert loss.isfinite()
    exact = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    layer.zero_grad()
    ForwardGradientRegularisation(layer, gamma=0.1, epsilon=1e-6).backward(lambda: layer(x).pow(3).mean())
    for slope, parameter in zip(exact, layer.parameters(), strict=True):
        torch.testing.assert_close(slope, parameter.grad, rtol=1e-4, atol=1e-6)
