"""The centred softplus: its closed forms, both its limits, and its derivatives of every order."""

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacrev, vmap

from trueline.steer import CenteredSoftplus, audit_activations, centered_softplus, curvature_unit

SHARPNESSES = (0.0, 0.01, 0.5, 1.0, 5.0, 100.0)


def grid(reach: float = 8.0, steps: int = 401) -> torch.Tensor:
    return torch.linspace(-reach, reach, steps, dtype=torch.float64)


def written_out(x: float, sharpness: float) -> float:
    """The definition in plain floats."""
    a = sharpness + 1e-3
    return (max(a * x, 0.0) + math.log1p(math.exp(-abs(a * x))) - math.log(2)) / a


def slopes(x: torch.Tensor, sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(centered_softplus(leaf, sharpness).sum(), leaf, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), leaf)
    return slope.detach(), bend


# Closed forms


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("sharpness", SHARPNESSES)
def test_the_unit_is_its_definition(sharpness: float, as_tensor: bool) -> None:
    x = grid()
    found = centered_softplus(x, torch.tensor(sharpness, dtype=x.dtype) if as_tensor else sharpness)
    expected = torch.tensor([written_out(value, sharpness) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=3e-13)


@pytest.mark.parametrize("sharpness", SHARPNESSES)
def test_value_slope_and_bend_at_the_origin(sharpness: float) -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    slope, bend = slopes(zero, sharpness)
    assert centered_softplus(zero, sharpness).item() == 0
    assert slope.item() == 0.5
    assert bend.item() == pytest.approx((sharpness + 1e-3) / 4, rel=1e-12)


@pytest.mark.parametrize("sharpness", SHARPNESSES)
def test_the_sharpness_bounds_the_normalised_curvature(sharpness: float) -> None:
    slope, bend = slopes(grid(40 / (sharpness + 1e-3), 4001), sharpness)
    assert slope.min() > 0
    assert slope.max() <= 1
    ratio = bend / slope
    assert ratio.min() >= 0
    assert ratio.max().item() == pytest.approx(sharpness + 1e-3, rel=1e-9)
    assert (ratio <= (sharpness + 1e-3) * (1 + 1e-12)).all()


@pytest.mark.parametrize("sharpness", SHARPNESSES)
def test_the_odd_part_is_that_of_relu(sharpness: float) -> None:
    x = grid()
    both = centered_softplus(x, sharpness) - centered_softplus(-x, sharpness)
    torch.testing.assert_close(both, x, rtol=0, atol=1e-14)


def test_the_unit_is_linear_at_one_end_and_relu_at_the_other() -> None:
    x = grid()
    assert ((centered_softplus(x, 0.0) - x / 2).abs() <= 1e-3 * x.square() / 8 + 1e-15).all()
    for sharpness in (10.0, 1e3, 1e6):
        gap = (centered_softplus(x, sharpness) - x.relu()).abs().max().item()
        assert gap <= math.log(2) / sharpness
        assert gap == pytest.approx(math.log(2) / (sharpness + 1e-3), rel=1e-6)
    assert torch.equal(centered_softplus(x, math.inf), x.relu())


def test_it_is_the_softplus_of_steering_lowered_to_the_origin() -> None:
    x = grid()
    a = 5 + 1e-3
    lowered = curvature_unit(x, 1 - 1 / a, 0.0) - math.log(2) / a
    torch.testing.assert_close(centered_softplus(x, 5.0), lowered, rtol=0, atol=1e-13)


# Derivatives


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")  # PyTorch's own, on the first use of forward mode
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (3, 4)])
def test_first_and_second_derivatives_in_everything(shape: tuple[int, ...], generator: torch.Generator) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    sharpness = (0.5 + torch.rand(shape, dtype=torch.float64, generator=generator)).requires_grad_()
    assert gradcheck(centered_softplus, (x, sharpness), check_forward_ad=True)
    assert gradgradcheck(centered_softplus, (x, sharpness))
    assert gradcheck(lambda x: centered_softplus(x, 3.0), x, check_forward_ad=True)


def test_the_derivative_in_the_sharpness_has_its_closed_form() -> None:
    """Differentiated by hand, ``∂s/∂b = -H(σ(ax))/a² + ln 2/a²`` with the binary entropy H."""
    x = grid(3, 61)
    sharpness = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    found = torch.stack([torch.autograd.grad(centered_softplus(value, sharpness), sharpness)[0] for value in x])
    side = (2.001 * x).sigmoid()
    entropy = -(side * side.log() + (1 - side) * (1 - side).log())
    torch.testing.assert_close(found, (math.log(2) - entropy) / 2.001**2, rtol=1e-9, atol=1e-12)


def test_function_transforms_compose(generator: torch.Generator) -> None:
    rows = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    sharpness = torch.tensor(2.0, dtype=torch.float64)

    def total(x: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
        return centered_softplus(x, sharpness).sin().sum()

    leaf = rows.clone().requires_grad_()
    (expected,) = torch.autograd.grad(sum(total(row, sharpness) for row in leaf), leaf)
    torch.testing.assert_close(vmap(grad(total), in_dims=(0, None))(rows, sharpness), expected)
    each = vmap(grad(total, argnums=1), in_dims=(None, 0))(rows[0], sharpness.expand(4) * 1)
    torch.testing.assert_close(each[0], grad(total, argnums=1)(rows[0], sharpness))
    twice = jacrev(jacrev(total))(rows[0], sharpness)
    torch.testing.assert_close(hessian(total)(rows[0], sharpness), twice)


# Precision and surroundings


@pytest.mark.parametrize("sharpness", [0.0, 0.1, 5.0])
def test_single_precision_keeps_its_digits_where_the_unit_is_nearly_linear(sharpness: float) -> None:
    x = torch.cat([torch.logspace(-6, 2, 200), -torch.logspace(-6, 2, 200)])
    found = centered_softplus(x, sharpness).double()
    a = torch.tensor(sharpness) + 1e-3  # as rounded in single precision
    exact = centered_softplus(x.double(), a.double() - 1e-3)
    assert ((found - exact) / exact).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wider_and_comes_back(dtype: torch.dtype) -> None:
    x = torch.tensor([-300.0, -1.0, 0.0, 1.0, 300.0, 60000.0], dtype=dtype).requires_grad_()
    for sharpness in (5.0, torch.tensor(5.0), torch.tensor(1e5)):
        found = centered_softplus(x, sharpness)
        assert found.dtype == dtype
        torch.testing.assert_close(found, centered_softplus(x.detach().float(), sharpness).to(dtype))
        (slope,) = torch.autograd.grad(found.float().sum(), x)
        assert slope.dtype == dtype
        assert slope.isfinite().all()


def test_ends_and_emptiness() -> None:
    found = centered_softplus(torch.tensor([math.inf, -math.inf, math.nan]), 1.0)
    assert found[0] == math.inf
    assert found[1].item() == pytest.approx(-math.log(2) / 1.001, rel=1e-6)
    assert found[2].isnan()
    assert centered_softplus(torch.zeros(0, 3), 1.0).shape == (0, 3)
    assert centered_softplus(torch.tensor(2.0), 1.0).shape == ()


def test_only_the_input_is_kept_for_the_gradient() -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(100, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        centered_softplus(x, 5.0)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() > 1] == [x.data_ptr()]


def test_the_audit_sees_the_unit_whole() -> None:
    (call,) = audit_activations(CenteredSoftplus(), torch.zeros(2, 3))
    assert call.steered
    assert call.kind == "centered_softplus"


def test_the_module_is_the_function_of_its_sharpness() -> None:
    unit = CenteredSoftplus(2.0)
    x = torch.randn(10, generator=torch.Generator().manual_seed(0))
    assert unit.sharpness.item() == pytest.approx(2.0)
    torch.testing.assert_close(unit(x), centered_softplus(x, 2.0))
    leaky = 0.1 * x + 0.9 * centered_softplus(x, 2.0)
    torch.testing.assert_close(unit(x, negative_slope=0.1), leaky)
    torch.testing.assert_close(unit(x, approximate="none"), centered_softplus(x, 2.0))
    unit(x).sum().backward()
    b = torch.tensor(2.0, requires_grad=True)
    centered_softplus(x, b).sum().backward()
    assert unit.log_sharpness.grad.item() == pytest.approx(2.0 * b.grad.item(), rel=1e-6)
    for twin in (copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
        assert torch.equal(twin(x), unit(x))
    assert str(unit) == "CenteredSoftplus(sharpness=2)"
    assert list(unit.state_dict()) == ["log_sharpness"]
    assert nn.Module.double(unit)(x.double()).dtype == torch.float64


def test_models_with_the_unit_export_and_compile() -> None:
    """In a process of its own, because the compiler cannot look through the suite's type checks."""
    program = """
import torch
from trueline.steer import CenteredSoftplus
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), CenteredSoftplus(), torch.nn.Linear(8, 2)).eval()
x = torch.randn(3, 4)
torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
compiled(x).sum().backward()
found = [parameter.grad.clone() for parameter in model.parameters()]
model.zero_grad()
model(x).sum().backward()
for ours, theirs in zip(found, model.parameters()):
    torch.testing.assert_close(ours, theirs.grad)
print("the same")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert run.stdout.strip() == "the same", run.stderr


# Errors


@pytest.mark.parametrize("sharpness", [-0.1, math.nan])
def test_sharpness_out_of_range_is_refused(sharpness: float) -> None:
    with pytest.raises(ValueError, match="sharpness must be at least 0, got"):
        centered_softplus(torch.zeros(2), sharpness)


@pytest.mark.parametrize("sharpness", [0.0, -1.0, math.inf, math.nan])
def test_a_unit_starts_in_the_open_range(sharpness: float) -> None:
    with pytest.raises(ValueError, match="sharpness must be above 0 and finite, got"):
        CenteredSoftplus(sharpness)


def test_tensors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must broadcast to the shape \(2, 3, 4, 4\) of x, got \(3,\)"):
        centered_softplus(torch.zeros(2, 3, 4, 4), torch.ones(3))
    with pytest.raises(ValueError, match="must broadcast"):
        centered_softplus(torch.zeros(3), torch.ones(2, 3))
    with pytest.raises(TypeError):
        centered_softplus(torch.zeros(3, dtype=torch.int64), 1.0)
