"""Layers divided by the norm of their operator: against the matrix itself, in training, and frozen outside of it."""

import copy
import pickle
from typing import Any

import pytest
import torch
from oracles.convolution_matrix import convolution_matrix
from torch import nn

from trueline.steer import spectral_normalisation


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(layer: nn.Module, seed: int = 0) -> nn.Module:
    layer = layer.double()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=seed + number))
    return layer


def converged(layer: nn.Module, x: torch.Tensor, steps: int = 300) -> nn.Module:
    layer.train()
    with torch.no_grad():
        for _ in range(steps):
            layer(x)
    return layer.eval()


def linear_map(layer: nn.Module, size: tuple[int, ...]) -> torch.Tensor:
    zero = torch.zeros(size, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda x: layer(x[None])[0])(zero)
    return jacobian.reshape(-1, zero.numel())


# The norm


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 1, "stride": 2},
        {"padding": 0, "dilation": 2},
        {"padding": 2, "groups": 2, "stride": 2},
        {"padding": 1, "groups": 4},
    ],
    ids=str,
)
def test_a_convolution_is_divided_by_the_norm_of_its_matrix(options: dict[str, int]) -> None:
    size = (7, 6)
    layer = filled(nn.Conv2d(4, 8, 3, bias=False, **options))
    weight = layer.weight.detach().clone()
    whole = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    matrix = torch.tensor(convolution_matrix(weight, size, **whole), dtype=torch.float64)
    norm = torch.linalg.matrix_norm(matrix, ord=2)
    x = drawn(2, 4, *size, seed=1)
    spectral_normalisation(layer, size)
    rough = linear_map(layer.eval(), (4, *size))
    assert 1 <= torch.linalg.matrix_norm(rough, ord=2) < 1.15  # 15 steps from below
    converged(layer, x, steps=1500)
    torch.testing.assert_close(linear_map(layer, (4, *size)), matrix / norm, rtol=1e-6, atol=1e-8)
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv1d(3, 5, 3, padding=1, padding_mode="circular"), (3, 9)),
        (nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (2, 6, 5)),
        (nn.Conv3d(2, 3, 2, stride=2), (2, 4, 5, 4)),
        (nn.Linear(6, 4), (6,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_layer_gets_norm_one(layer: nn.Module, size: tuple[int, ...]) -> None:
    layer = converged(spectral_normalisation(filled(layer), size[1:]), drawn(2, *size))
    assert torch.linalg.matrix_norm(linear_map(layer, size), ord=2).item() == pytest.approx(1, abs=1e-6)
    x, y = drawn(50, *size, seed=2), drawn(50, *size, seed=3)
    stretched = (layer(x) - layer(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert stretched.max() <= 1 + 1e-6
    torch.testing.assert_close(layer(torch.zeros_like(x))[0].flatten()[0], layer.bias[0])  # which is not divided


def test_a_linear_layer_agrees_with_pytorchs_own() -> None:
    layer = filled(nn.Linear(7, 5))
    peer = nn.utils.parametrizations.spectral_norm(copy.deepcopy(layer), n_power_iterations=300).eval()
    x = drawn(4, 7, seed=5)
    ours = converged(spectral_normalisation(layer), x)(x)
    torch.testing.assert_close(ours, peer(x), rtol=1e-6, atol=1e-8)


def test_the_norm_of_an_identity_kernel_is_its_size_at_any_input() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[0, 0, 1, 1] = -4.0
    x = torch.ones(1, 1, 5, 5)
    torch.testing.assert_close(spectral_normalisation(layer, (5, 5))(x), -x)


def test_the_gradient_takes_the_norm_into_account() -> None:
    """``∂(W/σ) = dW/σ - W·(uᵀdW v)/σ²`` with the first singular vectors u and v."""
    layer = filled(nn.Linear(4, 3, bias=False))
    x = drawn(5, 4, seed=1)
    converged(spectral_normalisation(layer), x)
    loss = (layer(x) * drawn(5, 3, seed=2)).sum()
    (found,) = torch.autograd.grad(loss, layer.weight)
    u, s, vh = torch.linalg.svd(layer.weight.detach())
    in_divided = drawn(5, 3, seed=2).T @ x
    along = (in_divided * layer.weight.detach()).sum() / s[0] ** 2
    torch.testing.assert_close(found, in_divided / s[0] - along * torch.outer(u[:, 0], vh[0]), rtol=1e-6, atol=1e-8)


def test_weights_of_zeros_stay_zeros_and_can_leave() -> None:
    layer = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(layer.weight)
    x = torch.ones(4, 3)
    spectral_normalisation(layer)
    layer(x)
    loss = layer(x).sum()
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(layer.weight.grad, torch.full((2, 3), 4.0))
    with torch.no_grad():
        layer.weight.fill_(7.0)
        for _ in range(5):
            layer(x)
    assert torch.linalg.matrix_norm(linear_map(layer.eval().double(), (3,)), ord=2).item() == pytest.approx(1, abs=1e-6)


# Modes, sizes and state


def test_training_steps_follow_the_weight_and_evaluation_changes_nothing() -> None:
    layer = spectral_normalisation(filled(nn.Conv2d(2, 3, 3)), (6, 6)).eval()
    x = drawn(2, 2, 6, 6)
    kept = layer.direction.clone()
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.direction, kept)
    layer.train()(x)
    assert not torch.equal(layer.direction, kept)
    assert layer.direction.norm().item() == pytest.approx(1)


def test_another_size_starts_over_in_training_and_is_forgotten_in_evaluation() -> None:
    layer = spectral_normalisation(filled(nn.Conv2d(2, 3, 3)), (6, 6)).eval()
    fresh = spectral_normalisation(filled(nn.Conv2d(2, 3, 3)), (9, 4)).eval()
    x = drawn(2, 2, 9, 4)
    before = layer(drawn(2, 2, 6, 6))
    for context in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close(layer(x), fresh(x))
    assert layer.direction.shape == (1, 2, 6, 6)
    assert torch.equal(layer(drawn(2, 2, 6, 6)), before)
    layer.train()(x)
    assert torch.equal(layer.direction, fresh.direction)


def test_two_passes_before_one_backward_and_a_gradient_of_a_gradient() -> None:
    layer = spectral_normalisation(filled(nn.Conv2d(2, 3, 3)), (6, 6)).train()
    x = drawn(2, 2, 6, 6).requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (layer(x).sum() + slope.square().sum()).backward()
    assert layer.weight.grad.isfinite().all()


def test_the_layer_keeps_its_names_and_survives_copying() -> None:
    layer = filled(nn.Conv2d(2, 3, 3))
    weight, hooked = layer.weight, []
    layer.register_forward_hook(lambda *_: hooked.append(1))
    state = torch.get_rng_state()
    assert spectral_normalisation(layer, (6, 6)) is layer
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.weight is weight
    assert isinstance(layer, nn.Conv2d)
    assert list(layer.state_dict()) == ["weight", "bias", "direction"]
    x = drawn(2, 2, 6, 6)
    expected = layer.eval()(input=x)
    assert hooked
    layer._forward_hooks.clear()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), expected)
    other = spectral_normalisation(nn.Conv2d(2, 3, 3).double(), (6, 6)).eval()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), expected)


def test_autocast_and_half_precision() -> None:
    layer = spectral_normalisation(filled(nn.Linear(6, 4)).float())
    x = drawn(3, 6).float()
    expected = layer.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), expected, rtol=0.02, atol=0.02)
    half = layer.to(torch.bfloat16)
    torch.testing.assert_close(half.train()(x.bfloat16()).float(), expected, rtol=0.03, atol=0.03)


# Errors


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.ConvTranspose2d(1, 1, 3), nn.Bilinear(1, 1, 1)])
def test_other_layers_are_refused(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"layer must be one of nn.Linear, nn.Conv1d, .* got"):
        spectral_normalisation(layer)


def test_a_layer_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="got SpectralLinear"):
        spectral_normalisation(spectral_normalisation(nn.Linear(2, 2)))


@pytest.mark.parametrize("size", [(3,), (3, 0), (3, 3, 3)])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="size must be 2 lengths of at least 1 for Conv2d"):
        spectral_normalisation(nn.Conv2d(1, 1, 3), size)


def test_sizes_that_do_not_fit_leave_the_layer_as_it_was() -> None:
    layer = nn.Conv2d(1, 1, 3)
    with pytest.raises(ValueError, match=r"inputs of size \(2, 2\) do not fit Conv2d"):
        spectral_normalisation(layer, (2, 2))
    assert type(layer) is nn.Conv2d
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_weights_that_are_no_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="run the lazy model once first"):
        spectral_normalisation(_lazy())
    layer = nn.Linear(2, 2)
    del layer._parameters["weight"]
    with pytest.raises(ValueError, match="remove its parametrisation"):
        spectral_normalisation(layer)


def _lazy() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight = nn.UninitializedParameter()
    return layer
