"""The Lipschitz constant of every operation of PyTorch's dispatcher that has one, in the Euclidean norm."""

import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trueline.probe._operator_norm import linear_norm


class Factor(NamedTuple):
    """What an operation multiplies a Lipschitz constant by.

    Args:
        norm: the factor.
        exact: whether it comes from a formula or a decomposition, not from an iteration.
        residual: of the iteration, see :class:`OperatorNorm`; 0 where exact.
    """

    norm: float
    exact: bool = True
    residual: float = 0.0


@dataclass(frozen=True)
class Call:
    """One operation, as it was executed.

    Args:
        name: of the operation, without the underscore of its in-place form.
        func: the overload.
        given: all arguments by name, defaults included.
        x: the one argument that depends on the input.
        place: its name.
        result: what came out.
        known: norms of linear maps found so far, by what they depend on.
    """

    name: str
    func: Any
    given: Mapping[str, Any]
    x: Tensor
    place: str
    result: Tensor
    known: dict[Any, Factor] = field(default_factory=dict)


def factor_of(call: Call) -> Factor | None:
    """Return the factor of an operation of one argument that depends on the input; None where none is known.

    Args:
        call: the operation.
    """
    if _ONE.fullmatch(call.name):
        return Factor(broadcast(call.x, call.result))
    if call.name in _SLOPES:
        slope = _SLOPES[call.name]
        return Factor(slope if isinstance(slope, float) else slope(call.given))
    if call.name in _FORMULAS:
        return _FORMULAS[call.name](call)
    return _linear(call) if _LINEAR.fullmatch(call.name) else None


def broadcast(x: Tensor, result: Tensor) -> float:
    """Return the norm of repeating a tensor to the shape of the result.

    Args:
        x: the tensor.
        result: what it was repeated to.
    """
    return math.sqrt(max(1.0, result.numel() / max(1, x.numel())))


# Each output is one input, or a function of slope at most 1 of one input, and no input is used twice.
_ONE = re.compile(
    r"relu|relu6|hardtanh|tanh|softplus|log_sigmoid_forward|abs|neg|sin|cos|atan|asinh|softshrink|clamp|clamp_min|"
    r"clamp_max|clone|_to_copy|flip|roll|tril|triu|masked_fill|dropout|logsumexp|amax|amin|max|min|maximum|"
    r"minimum|where|copy|fill|pixel_shuffle|pixel_unshuffle|channel_shuffle"
)

# sup |f'|, each attained or approached; what has no formula is rounded up in the seventh decimal.
_SLOPES: dict[str, float | Callable[[Mapping[str, Any]], float]] = {
    "sigmoid": 0.25,
    "_softmax": 0.5,
    "hardsigmoid": 1 / 6,
    "hardswish": 1.5,
    "silu": 1.0998394,
    "mish": 1.0884982,
    "erf": 2 / math.sqrt(math.pi),
    "gelu": lambda given: 1.1289043 if given["approximate"] == "none" else 1.1289931,
    "leaky_relu": lambda given: max(1.0, abs(given["negative_slope"])),
    "elu": lambda given: abs(given["scale"]) * max(1.0, abs(given["alpha"] * given["input_scale"])),
    "celu": 1.0,
    "rrelu_with_noise": lambda given: max(1.0, abs(given["lower"] + given["upper"]) / 2),
    "_prelu_kernel": lambda given: max(1.0, given["weight"].abs().max().item()),
}


def _multiplied(call: Call) -> Factor | None:
    """A product or quotient with a constant: the largest root of the squares that meet one entry."""
    other = "other" if call.place == "self" else "self"
    if call.name == "div" and (call.place == "other" or call.given.get("rounding_mode") is not None):
        return None
    value = torch.as_tensor(call.given[other], dtype=torch.float64, device=call.x.device)
    value = value.reciprocal() if call.name == "div" else value
    squares = value.square().expand(call.result.shape)
    return Factor(squares.sum_to_size(call.x.shape).max().sqrt().item() if call.x.numel() else 0.0)


def _added(call: Call) -> Factor:
    alpha = call.given.get("alpha", 1)
    scaled = call.place == ("self" if call.name == "rsub" else "other")
    return Factor(broadcast(call.x, call.result) * (abs(float(alpha)) if scaled else 1.0))


def _matrix(call: Call) -> Factor | None:
    """A product with constant matrices; the largest norm among those of a batch."""
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "mv": ("self", "vec"), "bmm": ("self", "mat2")}
    names |= {"addmv": ("mat", "vec"), "baddbmm": ("batch1", "batch2"), "dot": ("self", "tensor")}
    pair = names[call.name]
    if call.place not in pair:  # what is added
        return Factor(broadcast(call.x, call.result) * abs(float(call.given["beta"])))
    constant = call.given[pair[1 - pair.index(call.place)]].double()
    norm = constant.norm() if constant.ndim == 1 else torch.linalg.matrix_norm(constant, 2).max()
    return Factor(norm.item() * abs(float(call.given.get("alpha", 1))))


def _convolution(call: Call) -> Factor | None:
    if call.place != "input":
        return None
    weight, given = call.given["weight"].double(), call.given
    axes = range(weight.ndim - 2)
    apart = all(
        given["padding"][axis] == 0 and given["dilation"][axis] == 1 and given["stride"][axis] >= weight.shape[axis + 2]
        for axis in axes
    )
    if not apart:
        options = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
        key = (id(given["weight"]), call.x.shape, *(str(given[name]) for name in options))
        if key not in call.known:
            call.known[key] = _linear(call)
        return call.known[key]
    # Windows that do not meet: every patch has the same matrix, of outputs by inputs (transposed: the other way).
    groups = weight.reshape(given["groups"], weight.shape[0] // given["groups"], -1)
    return Factor(torch.linalg.matrix_norm(groups, 2).max().item())


def _batch_norm(call: Call) -> Factor | None:
    given = call.given
    if call.place != "input" or given.get("training") or given.get("running_var") is None:
        return None
    scale = (given["running_var"].double() + given.get("eps", given.get("epsilon", 0.0))).rsqrt()
    scale = scale if given["weight"] is None else scale * given["weight"].double().abs()
    return Factor(scale.max().item())


def _standardised(call: Call) -> Factor | None:
    """Layer and group norm: ``1/sqrt(variance + eps)`` is at most ``1/sqrt(eps)``, reached where all is constant."""
    if call.place != "input" or call.given["eps"] <= 0:
        return None
    weight = call.given["weight"]
    largest = 1.0 if weight is None else weight.double().abs().max().item()
    return Factor(largest / math.sqrt(call.given["eps"]))


def _log_softmax(call: Call) -> Factor:
    """``I - 1pᵀ`` projects along the ones, and has norm ``sqrt(C)·‖p‖ <= sqrt(C)``."""
    return Factor(math.sqrt(call.x.shape[call.given["dim"]]) if call.x.ndim else 1.0)


def _reduced(call: Call) -> Factor:
    entries = call.x.numel() / max(1, call.result.numel())
    return Factor(1 / math.sqrt(entries) if call.name == "mean" else math.sqrt(entries))


def _repeated(call: Call) -> Factor:
    return Factor(broadcast(call.x, call.result))


def _max_pool(call: Call) -> Factor:
    """Each output is one input; an input seen by m windows counts at most m times in the squares."""
    axes = 2 if "2d" in call.name else 3
    sizes = call.x.shape[-axes:]
    if call.name.startswith("adaptive"):
        times = [_adaptive_times(size, out) for size, out in zip(sizes, call.result.shape[-axes:], strict=True)]
        return Factor(math.sqrt(math.prod(times)))
    kernel, padding, dilation = (_spread(call.given[name], axes) for name in ("kernel_size", "padding", "dilation"))
    stride = _spread(call.given["stride"], axes) if call.given["stride"] else kernel
    times = []
    for axis in range(axes):
        seen = [0] * sizes[axis]
        for window in range(call.result.shape[axis - axes]):
            for step in range(kernel[axis]):
                place = window * stride[axis] - padding[axis] + step * dilation[axis]
                if 0 <= place < sizes[axis]:
                    seen[place] += 1
        times.append(max(seen))
    return Factor(math.sqrt(math.prod(times)))


def _adaptive_times(size: int, out: int) -> int:
    seen = [0] * size
    for window in range(out):
        for place in range(window * size // out, -(-(window + 1) * size // out)):
            seen[place] += 1
    return max(seen)


def _spread(value: Any, axes: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


def _indexed(call: Call) -> Factor | None:
    """Entries picked by constant places: the root of how often one entry is picked."""
    if call.place != "self":
        return None
    numbers = torch.arange(call.x.numel(), dtype=torch.float64, device=call.x.device).view(call.x.shape)
    picked = _again(call, lambda value: numbers if value is call.x else value)
    return Factor(math.sqrt(torch.bincount(picked.flatten().long()).max().item()) if picked.numel() else 0.0)


def _threshold(call: Call) -> Factor | None:
    return Factor(1.0) if call.given["threshold"] == call.given["value"] else None


_FORMULAS: dict[str, Callable[[Call], Factor | None]] = {
    **dict.fromkeys(("mul", "div"), _multiplied),
    **dict.fromkeys(("add", "sub", "rsub"), _added),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"), _matrix),
    "convolution": _convolution,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _batch_norm),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), _standardised),
    "_log_softmax": _log_softmax,
    **dict.fromkeys(("sum", "mean"), _reduced),
    **dict.fromkeys(("repeat", "expand_copy"), _repeated),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _max_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), _max_pool),
    **dict.fromkeys(("index", "index_select", "gather"), _indexed),
    "threshold": _threshold,
    "constant_pad_nd": lambda _: Factor(1.0),
}

_LINEAR = re.compile(
    r"avg_pool2d|avg_pool3d|_adaptive_avg_pool2d|_adaptive_avg_pool3d|upsample_nearest[123]d|"
    r"_upsample_nearest_exact[123]d|upsample_linear1d|upsample_bilinear2d|upsample_bicubic2d|upsample_trilinear3d|"
    r"_upsample_bilinear2d_aa|_upsample_bicubic2d_aa|reflection_pad[123]d|replication_pad[123]d|cumsum|im2col|"
    r"col2im|addcmul|lerp"
)


def _again(call: Call, replaced: Callable[[Any], Any]) -> Tensor:
    """Run the operation with other arguments."""
    named = {argument.name for argument in call.func._schema.arguments if argument.kwarg_only}
    values = {name: replaced(value) for name, value in call.given.items()}
    keywords = {name: value for name, value in values.items() if name in named and name != "out"}
    result: Tensor = call.func(*[value for name, value in values.items() if name not in named], **keywords)
    return result


def _linear(call: Call) -> Factor:
    """The norm of a map that is linear in the one argument, by iteration; raised by what its residual leaves open."""

    def function(z: Tensor) -> Tensor:
        def replaced(value: Any) -> Any:
            if value is call.x:
                return z
            return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

        return _again(call, replaced)

    # In a thread of its own: below the dispatcher, where operations are watched, this one has no autograd.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(linear_norm, function, call.x.shape, call.x.device).result()
    residual = found.residual.item()
    return Factor(found.norm.item() * math.sqrt(1 + residual), exact=False, residual=residual)
