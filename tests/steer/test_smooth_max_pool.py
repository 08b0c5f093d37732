"""Smoothed max-pooling: its limits and bounds, its derivatives, and that its windows are those of PyTorch."""

import copy
import itertools
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trueline.steer._curvature_unit import curvature_unit
from trueline.steer._smooth_max_pool import SmoothMaxPool, smooth_max_pool

BETAS = (0.0, 0.3, 0.5, 0.9, 0.999)
MIXES = (0.0, 0.5, 1.0)
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def written_out(entries: list[float], beta: float, mix: float) -> float:
    """The definition in plain floats."""
    entries = [entry for entry in entries if entry != -math.inf]
    if not entries:
        return -math.inf
    t, top = 1 - beta, max(entries)
    gates = [math.exp(beta / t * (entry - top)) for entry in entries]
    gated = sum(gate * entry for gate, entry in zip(gates, entries, strict=True)) / sum(gates)
    smooth = top + t * math.log(sum(math.exp((entry - top) / t) for entry in entries) / len(entries))
    return mix * gated + (1 - mix) * smooth


def windows_of(x: torch.Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, shape: Any) -> list[list[float]]:
    """The entries of every window of every channel, by loops over places and offsets."""
    found = []
    for channel in x.flatten(0, -len(kernel) - 1):
        for place in itertools.product(*(range(size) for size in shape)):
            entries = []
            for offset in itertools.product(*(range(size) for size in kernel)):
                at = [
                    p * s - pad + o * d
                    for p, s, pad, o, d in zip(place, stride, padding, offset, dilation, strict=True)
                ]
                if all(0 <= a < size for a, size in zip(at, channel.shape, strict=True)):
                    entries.append(channel[tuple(at)].item())
            found.append(entries)
    return found


def row(entries: list[float], **options: Any) -> torch.Tensor:
    """Pool one window that holds these entries."""
    x = torch.tensor(entries, dtype=torch.float64)[None]
    return smooth_max_pool(x, len(entries), **options)[0, 0]


@st.composite
def settings_of_a_pool(draw: st.DrawFn) -> tuple[torch.Tensor, dict[str, Any]]:
    """An input of one to three spatial dimensions and options that PyTorch accepts."""
    dims = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, stride, dilation = each(1, 3), each(1, 4), each(1, 3)
    # With dilation, versions of PyTorch differ on how much padding they take; this much they all do.
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    least = [max(1, span - 2 * pad) for span, pad in zip(spans, padding, strict=True)]
    sizes = [low + draw(st.integers(0, 5)) for low in least]
    leading = draw(st.sampled_from([(2,), (2, 2)]))
    x = torch.randn(*leading, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return x, {**options, "ceil_mode": draw(st.booleans())}


# Closed forms


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", BETAS)
def test_a_constant_window_keeps_its_constant_also_at_borders(beta: float, mix: float) -> None:
    x = torch.full((1, 2, 7, 6), -3.7)
    found = smooth_max_pool(x, (3, 3), 2, 1, ceil_mode=True, beta=beta, mix=mix)
    assert torch.equal(found, torch.full((1, 2, 4, 4), -3.7))


def test_without_sharpness_the_gate_is_the_mean() -> None:
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = smooth_max_pool(x, (3, 2), 2, (1, 1), beta=0.0, mix=1.0)
    torch.testing.assert_close(found, F.avg_pool2d(x, (3, 2), 2, (1, 1), count_include_pad=False))


def test_without_sharpness_the_smoothed_maximum_is_the_logarithm_of_the_mean_exponential() -> None:
    found = row([math.log(1.0), math.log(2.0), math.log(6.0)], beta=0.0, mix=0.0)
    assert found.item() == pytest.approx(math.log(3.0), abs=1e-14)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", BETAS)
def test_the_choice_between_x_and_zero_is_the_unit_less_its_value_at_zero(beta: float, mix: float) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    found = smooth_max_pool(torch.stack([x, torch.zeros_like(x)], dim=1)[None], 2, beta=beta, mix=mix)
    at_zero = (1 - mix) * (1 - beta) * math.log(2)
    torch.testing.assert_close(found.flatten(), curvature_unit(x, beta, mix) - at_zero, rtol=0, atol=1e-13)


@given(
    entries=st.lists(st.floats(-50, 50), min_size=1, max_size=9),
    beta=st.floats(0, 1),
    mix=st.floats(0, 1),
)
@settings(deadline=None, max_examples=150)
def test_the_value_lies_between_mean_and_maximum(entries: list[float], beta: float, mix: float) -> None:
    found = row(entries, beta=beta, mix=mix).item()
    largest, spread = max(entries), math.log(len(entries))
    assert sum(entries) / len(entries) - 1e-9 <= found <= largest + 1e-9
    width = max(1 - beta, 1e-6)
    below = mix * spread * width / beta if beta > 0 and mix > 0 else math.inf if mix > 0 else 0.0
    assert found >= largest - below - (1 - mix) * spread * width - 1e-9


@pytest.mark.parametrize("mix", MIXES)
def test_the_distance_from_the_maximum_falls_as_beta_rises(mix: float) -> None:
    far = [2.0 - row([0.0, 1.0, 1.5, 2.0], beta=beta, mix=mix).item() for beta in (0.0, 0.3, 0.6, 0.9, 0.99, 0.999999)]
    assert far == sorted(far, reverse=True)
    assert far[-1] == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize("mix", MIXES)
def test_entries_move_together_and_their_order_does_not_matter(mix: float) -> None:
    entries = [0.3, -1.2, 2.0, 1.9]
    found = row(entries, beta=0.7, mix=mix)
    assert row(entries[::-1], beta=0.7, mix=mix).item() == pytest.approx(found.item(), abs=1e-14)
    moved = row([entry + 1000 for entry in entries], beta=0.7, mix=mix)
    assert moved.item() - 1000 == pytest.approx(found.item(), abs=1e-10)


# Windows


@given(pool=settings_of_a_pool(), mix=st.sampled_from(MIXES), beta=st.sampled_from([0.0, 0.6, 0.95]))
@settings(deadline=None, max_examples=150)
def test_every_window_is_the_definition(pool: tuple[torch.Tensor, dict[str, Any]], beta: float, mix: float) -> None:
    x, options = pool
    dims = len(options["kernel_size"])
    hard = MAX_POOLS[dims](x, **options)
    found = smooth_max_pool(x, **options, beta=beta, mix=mix)
    assert found.shape == hard.shape
    names = ("kernel_size", "stride", "padding", "dilation")
    entries = windows_of(x, *(options[name] for name in names), hard.shape[-dims:])
    assert hard.flatten().tolist() == [max(each, default=-math.inf) for each in entries]  # the twin's own windows
    expected = torch.tensor([written_out(each, beta, mix) for each in entries], dtype=torch.float64)
    torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-12)


@given(pool=settings_of_a_pool(), half=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
@settings(deadline=None, max_examples=60)
def test_beta_one_is_max_pooling_to_the_bit(pool: tuple[torch.Tensor, dict[str, Any]], half: torch.dtype) -> None:
    x, options = pool
    x = (x * 2).round().to(half).requires_grad_()  # with ties
    hard = MAX_POOLS[len(options["kernel_size"])](x, **options)
    found = smooth_max_pool(x, **options, beta=1.0)
    assert torch.equal(found, hard)
    if hard.isfinite().all():  # PyTorch writes beyond its memory in the backward pass of a window of padding alone
        slopes = [torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (found, hard)]
        assert torch.equal(*slopes)


def test_one_number_stands_for_all_dimensions_except_of_the_kernel() -> None:
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    short = smooth_max_pool(x, (3, 3), 2, 1, 1, beta=0.8)
    assert torch.equal(short, smooth_max_pool(x, (3, 3), (2, 2), (1, 1), (1, 1), beta=0.8))
    assert smooth_max_pool(x[0], 3, beta=0.8).shape == (3, 9, 3)  # (N, C, L) = (3, 9, 9)
    assert smooth_max_pool(x, (3, 3), beta=0.8).shape == (2, 3, 3, 3)


def test_entries_of_minus_infinity_count_as_padding() -> None:
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (1, 1, 1, 1), value=-math.inf)
    torch.testing.assert_close(smooth_max_pool(padded, (3, 3), 2, beta=0.7), smooth_max_pool(x, (3, 3), 2, 1, beta=0.7))
    nothing = torch.full((1, 1, 4), -math.inf).requires_grad_()
    found = smooth_max_pool(nothing, 2, beta=0.7)
    assert (found == -math.inf).all()
    assert torch.equal(torch.autograd.grad(found.sum(), nothing)[0], torch.zeros(1, 1, 4))


def test_infinite_and_missing_entries_show() -> None:
    x = torch.tensor([[math.nan, 0.0, math.inf, 0.0, 1.0, 1.0]])
    found = smooth_max_pool(x, 2, beta=0.7)[0]
    assert found.isnan().tolist() == [True, True, False]


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert smooth_max_pool(torch.zeros(0, 3, 4, 4), (2, 2), beta=0.7).shape == (0, 3, 2, 2)


# Derivatives, precision and surroundings


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")  # PyTorch's own, on the first use of forward mode
def test_first_and_second_derivatives(beta: float, mix: float) -> None:
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def pool(x: torch.Tensor) -> torch.Tensor:
        return smooth_max_pool(x, (3, 2), 2, 1, (1, 1), True, beta=beta, mix=mix)

    assert gradcheck(pool, x, check_forward_ad=True)
    assert gradgradcheck(pool, x)


@pytest.mark.parametrize("mix", MIXES)
def test_the_slopes_of_a_window_sum_to_one(mix: float) -> None:
    x = torch.tensor([[0.3, -1.2, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_max_pool(x, 4, beta=0.8, mix=mix).sum(), x)
    assert slope.sum().item() == pytest.approx(1, abs=1e-14)
    assert slope[0, 2] == slope[0, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wider_and_comes_back(dtype: torch.dtype) -> None:
    spread = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    x = torch.cat([torch.tensor([[-300.0, 0.0, 60000.0, 59000.0]]), spread], dim=1).to(dtype).requires_grad_()
    for beta in (0.5, 0.999999):
        found = smooth_max_pool(x, 2, beta=beta)
        assert found.dtype == dtype
        assert torch.equal(found, smooth_max_pool(x.float(), 2, beta=beta).to(dtype))
        assert torch.autograd.grad(found.float().sum(), x)[0].isfinite().all()


def test_autocast_leaves_the_pooling_in_full_precision() -> None:
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = smooth_max_pool(x, (2, 2), beta=0.9)
    assert torch.equal(found, smooth_max_pool(x, (2, 2), beta=0.9))


def test_a_function_mode_sees_the_pooling_with_its_options() -> None:
    seen: list[tuple[Any, dict[str, Any]]] = []

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is smooth_max_pool:
                seen.append((args[1:], kwargs))
            return func(*args, **(kwargs or {}))

    x = torch.randn(1, 2, 6, generator=torch.Generator().manual_seed(0))
    with Watching():
        found = SmoothMaxPool(2, padding=1, beta=0.9)(x)
    assert seen[-1] == ((2, None, 1, 1, False), {"beta": 0.9, "mix": 0.5})
    assert torch.equal(found, smooth_max_pool(x, 2, padding=1, beta=0.9))


def test_the_module_prints_copies_and_pickles_itself_and_holds_no_state() -> None:
    pool = SmoothMaxPool((3, 3), 2, 1, beta=0.9)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    for twin in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        assert torch.equal(twin(x), smooth_max_pool(x, (3, 3), 2, 1, beta=0.9))
    assert str(pool) == "SmoothMaxPool(kernel_size=(3, 3), stride=2, padding=1, beta=0.9, mix=0.5)"
    assert str(SmoothMaxPool(2, beta=1)) == "SmoothMaxPool(kernel_size=2, beta=1, mix=0.5)"
    assert pool.state_dict() == {}


def test_models_with_the_pooling_export_and_compile() -> None:
    """In a process of its own, because the compiler cannot look through the suite's type checks."""
    program = """
import torch
from trueline.steer._smooth_max_pool import SmoothMaxPool
torch.manual_seed(0)
pools = SmoothMaxPool((3, 3), 2, 1, ceil_mode=True, beta=0.9), SmoothMaxPool((2, 2), beta=1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), *pools).eval()
x = torch.randn(2, 3, 13, 12)
batch = torch.export.Dim("batch", min=1, max=64)
exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()
torch.testing.assert_close(exported(x), model(x))
torch.testing.assert_close(exported(x[:1]), model(x[:1]))
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
        ({"beta": 0.5, "kernel_size": (2, 0)}, "kernel_size must have 1, 2 or 3 entries of at least 1"),
        ({"beta": 0.5, "kernel_size": (2, 2, 2, 2)}, "kernel_size must have 1, 2 or 3 entries"),
        ({"beta": 0.5, "kernel_size": ()}, "kernel_size must have 1, 2 or 3 entries"),
        ({"beta": 0.5, "stride": (2, 2, 2)}, "stride must be one number or 2, as many as kernel_size has entries"),
        ({"beta": 0.5, "stride": 0}, "stride must be .* of at least 1, got 0"),
        ({"beta": 0.5, "dilation": 0}, "dilation must be .* of at least 1, got 0"),
        ({"beta": 0.5, "padding": -1}, "padding must be .* of at least 0, got -1"),
        ({"beta": 0.5, "padding": 2}, r"padding must be at most half of the window, which spans \(2, 2\), got 2"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    options = {"kernel_size": (2, 2), **options}
    with pytest.raises(ValueError, match=words):
        smooth_max_pool(torch.zeros(1, 2, 8, 8), **options)
    with pytest.raises(ValueError, match=words):
        SmoothMaxPool(**options)


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"kernel_size \(2,\) is for 1 spatial .* got x of shape \(1, 2, 8, 8\); .*\(k, k\)"
    ):
        smooth_max_pool(torch.zeros(1, 2, 8, 8), 2, beta=0.5)
    with pytest.raises(ValueError, match=r"the window spans \(5, 5\), more than .* \(1, 2, 4, 8\)"):
        smooth_max_pool(torch.zeros(1, 2, 4, 8), (3, 3), dilation=2, beta=0.5)
    with pytest.raises(TypeError):
        smooth_max_pool(torch.zeros(1, 2, 4, dtype=torch.int64), 2, beta=0.5)
