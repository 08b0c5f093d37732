"""The unit: its closed forms, its derivatives of both orders, and that it is ReLU where it says so."""

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, vmap
from torch.nn import functional as F

from trueline.steer import CurvatureUnit, _runs, curvature_unit
from trueline.steer._unit_arithmetic import composed

BETAS = (0.0, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999)
MIXES = (0.0, 0.5, 1.0)


def grid(reach: float = 8.0, steps: int = 401) -> torch.Tensor:
    return torch.linspace(-reach, reach, steps, dtype=torch.float64)


def written_out(x: float, beta: float, mix: float, scale: float = 1.0) -> float:
    """The definition in plain floats."""
    t, x = 1 - beta, x / scale
    gate = 1 / (1 + math.exp(-beta * x / t)) if beta * x / t > -700 else 0.0
    corner = max(x, 0) + t * math.log1p(math.exp(-abs(x) / t))
    return scale * (mix * x * gate + (1 - mix) * corner)


def curvature(beta: float, mix: float) -> float:
    return (2 * mix * beta + 1 - mix) / (4 * (1 - beta))


# Closed forms


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", BETAS)
def test_the_unit_is_its_definition(beta: float, mix: float, scale: float, as_tensor: bool) -> None:
    x = grid()
    found = curvature_unit(x, torch.tensor(beta, dtype=x.dtype) if as_tensor else beta, mix, scale=scale)
    expected = torch.tensor([written_out(value, beta, mix, scale) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-14)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", BETAS)
def test_the_odd_part_is_that_of_relu(beta: float, mix: float) -> None:
    x = grid()
    torch.testing.assert_close(curvature_unit(x, beta, mix) - curvature_unit(-x, beta, mix), x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", BETAS)
def test_value_slope_and_curvature_at_the_corner(beta: float, mix: float) -> None:
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = curvature_unit(zero, beta, mix)
    (slope,) = torch.autograd.grad(value.sum(), zero, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), zero)
    assert value.item() == pytest.approx((1 - mix) * (1 - beta) * math.log(2), abs=1e-15)
    assert slope.item() == 0.5
    assert bend.item() == pytest.approx(curvature(beta, mix), rel=1e-9)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_the_corner_is_where_it_bends_most_and_the_slope_is_bounded(beta: float, mix: float) -> None:
    x = grid(4, 4001).requires_grad_()
    (slope,) = torch.autograd.grad(curvature_unit(x, beta, mix).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    assert bend.abs().max().item() <= curvature(beta, mix) * (1 + 1e-9)
    assert slope.abs().max().item() <= 1 + 0.09984 * mix


def test_both_branches_approach_relu_at_their_known_distance() -> None:
    x = grid(3, 60001)
    for beta in (0.9, 0.99):
        smooth = (curvature_unit(x, beta, 0.0) - x.relu()).abs().max().item()
        gated = (curvature_unit(x, beta, 1.0) - x.relu()).abs().max().item()
        assert smooth == pytest.approx((1 - beta) * math.log(2), rel=1e-9)
        assert gated == pytest.approx(0.278465 * (1 - beta) / beta, rel=1e-4)


def test_silu_and_softplus_are_special_cases() -> None:
    x = grid()
    torch.testing.assert_close(curvature_unit(x, 0.5, 1.0), F.silu(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(curvature_unit(x, 0.8, 0.0), F.softplus(x, beta=5, threshold=60), rtol=0, atol=1e-14)
    torch.testing.assert_close(curvature_unit(x, 0.6405, 1.0), F.gelu(x), rtol=0, atol=0.021)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1.0, torch.tensor(1.0)])
def test_beta_one_is_relu_to_the_bit(beta: float | torch.Tensor, dtype: torch.dtype) -> None:
    x = torch.cat([grid(), torch.tensor([-0.0, 1e-30, -1e-30, 6e4])]).to(dtype).requires_grad_()
    found, expected = curvature_unit(x, beta), x.relu()
    assert torch.equal(found, expected)
    assert torch.equal(*(torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (found, expected)))


# Derivatives


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")  # PyTorch's own, on the first use of forward mode
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("beta", "mix"), [(0.0, 0.3), (0.5, 1.0), (0.7, 0.0), (0.9, 0.5)])
def test_first_and_second_derivatives_in_the_entries(beta: float, mix: float, scale: float) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def unit(x: torch.Tensor) -> torch.Tensor:
        return curvature_unit(x, beta, mix, scale=scale)

    assert gradcheck(unit, x, check_forward_ad=True)
    assert gradgradcheck(unit, x)


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
@pytest.mark.parametrize(("beta", "mix"), [((), ()), ((4,), (3, 1)), ((3, 4), (1, 4)), ((1,), (4,))])
def test_first_and_second_derivatives_in_everything(beta: tuple[int, ...], mix: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    knobs = [
        (0.1 + 0.8 * torch.rand(shape, dtype=torch.float64, generator=generator)).requires_grad_()
        for shape in (beta, mix)
    ]
    scale = torch.full((4,), 1.7, dtype=torch.float64)

    def unit(*inputs: torch.Tensor) -> torch.Tensor:
        return curvature_unit(*inputs, scale=scale)

    assert gradcheck(unit, (x, *knobs), check_forward_ad=True)
    assert gradgradcheck(unit, (x, *knobs))


def test_the_derivative_in_beta_has_its_closed_form() -> None:
    x = grid(3, 61)
    for mix in (0.0, 1.0):
        beta = torch.tensor(0.8, dtype=torch.float64)
        (found,) = jacfwd(lambda b, mix=mix: curvature_unit(x, b, mix))(beta)[None]
        side, gate = (x / 0.2).sigmoid(), (4 * x).sigmoid()
        entropy = -(side * side.log() + (1 - side) * (1 - side).log())
        expected = -entropy if mix == 0 else x.square() * gate * (1 - gate) / 0.04
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_fixed_and_trainable_knobs_agree() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fixed = curvature_unit(x, 0.8, 0.3, scale=2.0)
    free = curvature_unit(x, torch.full((3,), 0.8), torch.tensor(0.3), scale=2.0)
    torch.testing.assert_close(fixed, free)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (fixed, free)))


def test_function_transforms_compose() -> None:
    rows = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def total(x: torch.Tensor) -> torch.Tensor:
        return curvature_unit(x, 0.8).sin().sum()

    by_row = vmap(grad(total))(rows)
    leaf = rows.clone().requires_grad_()
    (expected,) = torch.autograd.grad(sum(total(row) for row in leaf), leaf)
    torch.testing.assert_close(by_row, expected)
    torch.testing.assert_close(hessian(total)(rows[0]), jacrev(jacrev(total))(rows[0]))

    def with_knob(x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return curvature_unit(x, beta).sum()

    beta = torch.tensor(0.7, dtype=torch.float64)
    each = vmap(grad(with_knob, argnums=1), in_dims=(0, None))(rows, beta)
    torch.testing.assert_close(each.sum(), grad(with_knob, argnums=1)(rows, beta))


# Precision, size and surroundings


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wider_and_comes_back(dtype: torch.dtype) -> None:
    x = torch.tensor([-300.0, -1.0, 0.0, 1.0, 300.0, 60000.0], dtype=dtype).requires_grad_()
    for beta in (0.9, 0.999999, torch.tensor(0.999999)):
        found = curvature_unit(x, beta)
        assert found.dtype == dtype
        assert found.isfinite().all()
        torch.testing.assert_close(found, curvature_unit(x.detach().float(), beta).to(dtype))
        (slope,) = torch.autograd.grad(found.float().sum(), x)
        assert slope.dtype == dtype
        assert slope.isfinite().all()


def test_autocast_leaves_the_unit_in_full_precision() -> None:
    x = torch.randn(40, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = curvature_unit(x, 0.95)
    assert torch.equal(found, curvature_unit(x, 0.95))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "empty"])
def test_runs_never_change_the_answer(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    x = {
        "contiguous": x,
        "channels_last": x.to(memory_format=torch.channels_last),
        "strided": x[:, :, ::2],
        "empty": x[:0],
    }[layout].requires_grad_()
    whole = curvature_unit(x, 0.8)
    expected = torch.autograd.grad(whole.square().sum(), x)[0]
    monkeypatch.setattr(_runs, "RUN", 7)
    cut = curvature_unit(x, 0.8)
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-7)
    torch.testing.assert_close(torch.autograd.grad(cut.square().sum(), x)[0], expected, rtol=0, atol=1e-6)


def test_runs_under_modes_and_transforms() -> None:
    x = torch.randn(4 * _runs.RUN, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([curvature_unit(part, 0.8) for part in x.split(1024)])
    with torch.inference_mode():
        assert torch.equal(curvature_unit(x, 0.8), expected)
        assert curvature_unit(x + 0, 0.8).is_inference()
    assert torch.equal(vmap(lambda part: curvature_unit(part, 0.8))(x.view(4, -1)).view(-1), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(curvature_unit(x, 0.8), expected)


def test_only_the_input_is_kept_for_the_gradient() -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(100, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        curvature_unit(x, 0.9)
    assert len(kept) == 1
    assert kept[0].data_ptr() == x.data_ptr()


def test_infinite_and_missing_entries_stay_what_they_are() -> None:
    found = curvature_unit(torch.tensor([math.inf, math.nan]), 0.9)
    assert found[0] == math.inf
    assert found[1].isnan()


def test_the_module_prints_copies_and_pickles_itself_and_holds_no_state() -> None:
    unit = CurvatureUnit(0.9, 0.25, scale=2.0)
    x = torch.randn(10)
    for twin in (copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
        assert torch.equal(twin(x), unit(x))
    assert str(unit) == "CurvatureUnit(beta=0.9, mix=0.25, scale=2)"
    assert unit.state_dict() == {}


def test_models_with_the_unit_export_and_compile() -> None:
    """In a process of its own, because the compiler cannot look through the suite's type checks."""
    program = """
import torch
from trueline.steer import CurvatureUnit
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), CurvatureUnit(0.9), torch.nn.Linear(8, 2)).eval()
x = torch.randn(3, 4)
torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
torch.testing.assert_close(compiled(x), model(x))
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 1.5}, r"beta must lie in \[0, 1\], got 1.5"),
        ({"beta": math.nan}, "beta must lie"),
        ({"beta": 0.5, "mix": -0.1}, "mix must lie"),
        ({"beta": 0.5, "scale": 0.0}, "scale must be above 0"),
    ],
)
def test_knobs_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        curvature_unit(torch.zeros(2), **options)
    with pytest.raises(ValueError, match=words):
        CurvatureUnit(**options)


def test_tensors_that_do_not_fit_are_refused() -> None:
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(
        ValueError, match=r"beta must broadcast to the shape \(2, 3, 4, 4\) of x, got \(3,\); .*\(C, 1, 1\)"
    ):
        curvature_unit(x, torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="mix must broadcast"):
        curvature_unit(x[0, 0, 0], 0.5, torch.full((2, 4), 0.5))
    with pytest.raises(ValueError, match="scale is a constant"):
        curvature_unit(x, 0.5, scale=torch.ones(1, requires_grad=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last, "transposed", "sliced"])
def test_large_inputs_of_every_layout(layout: object) -> None:
    x = torch.randn(4, 32, 64, 64, generator=torch.Generator().manual_seed(0))  # more than one run
    if layout == "transposed":
        x = x.transpose(1, 3)
    elif layout == "sliced":
        x = x[:, ::2].repeat(2, 1, 1, 1)[:, :, 1:]
    else:
        x = x.contiguous(memory_format=layout)  # type: ignore[arg-type]
    entries = torch.stack([curvature_unit(part, 0.8) for part in x.unbind()])
    x.requires_grad_()
    result = curvature_unit(x, 0.8)
    assert torch.equal(result, entries)
    assert layout != torch.channels_last or result.is_contiguous(memory_format=torch.channels_last)
    for given in (torch.ones_like(result), torch.ones(result.shape), torch.ones(()).expand_as(x)):
        (slope,) = torch.autograd.grad(result, x, given, retain_graph=True)
        one_by_one = x.detach().reshape(-1).requires_grad_()
        parts = [curvature_unit(part, 0.8) for part in one_by_one.split(1000)]
        assert torch.allclose(slope.reshape(-1), torch.autograd.grad(torch.cat(parts).sum(), one_by_one)[0], atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(), (3, 1, 1), (1, 3, 1, 1), (5,)])
def test_knobs_that_learn_are_worked_off_in_rows(layout: object, shape: tuple[int, ...]) -> None:
    """Rows against the plain operations, which every gradient that is differentiated again goes through."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, 96, 5, generator=generator).double()
    x = x.contiguous(memory_format=layout).requires_grad_()  # type: ignore[arg-type]
    knobs = [torch.rand(shape, generator=generator).double().requires_grad_() for _ in range(2)]
    with torch.no_grad():
        knobs[0].view(-1)[0] = 1.0  # one unit is ReLU itself
    result = curvature_unit(x, *knobs, scale=0.7)
    assert torch.allclose(result, composed(x, *knobs, torch.tensor(0.7, dtype=torch.float64)), atol=1e-12)
    given = torch.randn(result.shape, generator=generator).double()
    quick = torch.autograd.grad(result, (x, *knobs), given, retain_graph=True)
    plain = torch.autograd.grad(result, (x, *knobs), given, create_graph=True)
    for found, expected in zip(quick, plain, strict=True):
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=1e-9)
    only_mix = torch.autograd.grad(curvature_unit(x.detach(), knobs[0].detach(), knobs[1]), knobs[1], given)
    assert only_mix[0].shape == shape
