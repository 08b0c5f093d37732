"""Batch norm with a bound: the constant it states is that of its map, and a free one is plain batch norm."""

import copy
import math

import pytest
import torch
from torch import nn

from trueline.steer import LipschitzBatchNorm1d, LipschitzBatchNorm2d

FREE = -0.5 * math.log(1e-5)


def with_statistics(layer: nn.Module, variances: list[float]) -> nn.Module:
    layer.running_var.copy_(torch.tensor(variances))
    layer.running_mean.copy_(torch.arange(len(variances)))
    return layer.double().eval()


# Closed forms


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(math.inf, 1 / math.sqrt(0.25 + 1e-5)), (1e9, 1 / math.sqrt(0.25 + 1e-5)), (0.7, 0.7), (1.5, 1.5)],
)
@pytest.mark.parametrize("kind", [LipschitzBatchNorm1d, LipschitzBatchNorm2d])
def test_the_constant_is_that_of_the_map(kind: type[nn.Module], gamma: float, expected: float) -> None:
    layer = with_statistics(kind(3, gamma=gamma), [0.25, 1.0, 4.0])
    shape = (3, 2, 2) if kind is LipschitzBatchNorm2d else (3,)
    x = torch.zeros(shape, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda x: layer(x[None])[0])(x).reshape(x.numel(), x.numel())
    found = torch.linalg.matrix_norm(jacobian, ord=2).item()
    assert found == pytest.approx(expected, rel=1e-6)
    assert layer.lipschitz_constant.item() == pytest.approx(found, rel=1e-6)


def test_a_binding_constant_shrinks_every_channel_alike() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = with_statistics(nn.BatchNorm1d(3, affine=False), [0.25, 1.0, 4.0])
    bound = with_statistics(LipschitzBatchNorm1d(3, gamma=0.5), [0.25, 1.0, 4.0])
    torch.testing.assert_close(bound(x), plain(x) * 0.5 * math.sqrt(0.25 + 1e-5), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("kind", "plain_kind"), [(LipschitzBatchNorm1d, nn.BatchNorm1d)])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5)])
def test_a_free_layer_is_plain_batch_norm(kind: type, plain_kind: type, shape: tuple[int, ...]) -> None:
    x = 1e-4 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer, plain = kind(3), plain_kind(3, affine=False)
    for _ in range(3):
        assert torch.equal(layer(x), plain(x))
    layer.eval()
    plain.eval()
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.running_var, plain.running_var)


def test_images_keep_their_statistics_too() -> None:
    x = 3 * torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) + 1
    layer, plain = LipschitzBatchNorm2d(2, gamma=0.5), nn.BatchNorm2d(2, affine=False)
    layer(x)
    plain(x)
    for name, buffer in plain.named_buffers():
        assert torch.equal(layer.get_buffer(name), buffer)


# What is trained


def test_free_is_a_finite_number_that_nothing_exceeds() -> None:
    layer = LipschitzBatchNorm1d(2)
    assert layer.log_gamma.item() == pytest.approx(FREE)
    with_statistics(layer, [0.0, 1.0])
    assert layer.lipschitz_constant.item() == pytest.approx(1 / math.sqrt(1e-5), rel=1e-5)
    assert LipschitzBatchNorm1d(2, gamma=1e30).log_gamma.item() == pytest.approx(FREE)
    layer.log_gamma.abs().backward()
    assert layer.log_gamma.grad.item() == 1


@pytest.mark.parametrize(("gamma", "learns"), [(0.5, True), (50.0, False)])
def test_the_bound_learns_where_it_binds(gamma: float, learns: bool) -> None:
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = with_statistics(LipschitzBatchNorm1d(3, gamma=gamma), [1.0, 2.0, 4.0])
    y = layer(x)
    (found,) = torch.autograd.grad(y.square().sum(), layer.log_gamma)
    # y is proportional to γ, so that ∂y/∂log γ = y.
    assert found.item() == pytest.approx(2 * y.square().sum().item() if learns else 0.0, rel=1e-9)


def test_its_state_is_batch_norms_and_one_number() -> None:
    layer = LipschitzBatchNorm2d(3, gamma=2.0)
    assert set(layer.state_dict()) == {"log_gamma", "running_mean", "running_var", "num_batches_tracked"}
    assert str(layer) == "LipschitzBatchNorm2d(3, gamma=2, eps=1e-05, momentum=0.1)"
    other = LipschitzBatchNorm2d(3)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.eval()(x), copy.deepcopy(layer).eval()(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back(dtype: torch.dtype) -> None:
    layer = LipschitzBatchNorm1d(3, gamma=0.5).eval().to(dtype)
    found = layer(torch.ones(2, 3, dtype=dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found, torch.full((2, 3), 0.5, dtype=dtype))


# Errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": 0.0}, "gamma must be above 0, got 0"),
        ({"gamma": math.nan}, "gamma must be above 0, got nan"),
        ({"eps": 0.0}, "eps must be above 0, got 0"),
        ({"num_features": 0}, "num_features must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LipschitzBatchNorm1d(**{"num_features": 3} | options)


def test_other_axes_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        LipschitzBatchNorm2d(3)(torch.zeros(2, 3))
