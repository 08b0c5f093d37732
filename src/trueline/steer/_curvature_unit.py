"""The curvature-tuning unit, by Hu, Gamba and Balestriero (2025): a ReLU with one knob for how sharp its corner is."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.steer._runs import by_runs

LEAST_WIDTH = 1e-6  # of the corner, where beta is within it of 1: the sharpness stays finite in single precision
_LINEAR_FROM = 40.0  # in corner widths; what the softplus branch then misses is below the precision of float64
_HALF = (torch.float16, torch.bfloat16)


def curvature_unit(
    x: Float[Tensor, "*shape"],
    beta: float | Float[Tensor, "..."],
    mix: float | Float[Tensor, "..."] = 0.5,
    *,
    scale: float | Float[Tensor, "..."] = 1.0,
) -> Float[Tensor, "*shape"]:
    """Apply the curvature-tuning unit to every entry.

    ``mix·x·σ(βx/t) + (1 - mix)·t·ln(1 + e^(x/t))`` with ``t = 1 - β``: the first branch smooths which side of the
    corner an entry belongs to, the second the corner itself. β = 1 is ReLU, to the bit; β = ½ with mix = 1 is SiLU;
    mix = 0 is a softplus of sharpness ``1/(1 - β)``. For any β and mix ``φ(x) - φ(-x) = x``, as for ReLU. At β = 0 the
    unit is part linear and part softplus, unless mix = 1.

    t is a width in units of x: β = 0.9 changes entries of size 1 and hardly those of size 10. With a scale s the unit
    is ``s·φ(x/s)``, so that the width follows the size of what comes in; this option is ours and not the authors'.

    Args:
        x: entries of any shape, floating point. Half precision is computed in float32 and returned as it came.
        beta: in [0, 1]; a number, or a tensor that broadcasts against ``x``.
        mix: in [0, 1]; likewise.
        scale: above 0; likewise, but nothing is learned through it.

    Returns:
        The values, of the shape and dtype of ``x``; differentiable twice in ``x``, ``beta`` and ``mix``.

    Raises:
        ValueError: if a number lies outside its range, or a tensor does not broadcast to the shape of ``x``.
        TypeError: if ``x`` is not floating point.

    Cost:
        Two transcendental functions an entry; for the gradient two more. Only the input is kept for it.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 1.0])
        >>> curvature_unit(x, 1.0).tolist()
        [0.0, 0.0, 1.0]
        >>> bool(torch.allclose(curvature_unit(x, 0.5, 1.0), torch.nn.functional.silu(x)))
        True
    """
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, got {x.dtype}; convert with x.float()")
    if isinstance(scale, Tensor) and scale.requires_grad:
        raise ValueError("scale is a constant of the unit; pass scale.detach()")
    for name, value in {"beta": beta, "mix": mix}.items():
        if not isinstance(value, Tensor) and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    if not isinstance(scale, Tensor) and not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0 and finite, got {scale}")
    fixed = not any(isinstance(value, Tensor) for value in (beta, mix, scale))
    if fixed and beta == 1:
        return x.relu()
    result: Tensor
    if fixed and not torch.compiler.is_compiling():
        result = _FixedUnit.apply(x, beta, mix, scale)  # type: ignore[no-untyped-call]
        return result
    kind = torch.float32 if x.dtype in _HALF else x.dtype
    knobs = [torch.as_tensor(value, dtype=kind, device=x.device) for value in (beta, mix, scale)]
    for name, knob in zip(("beta", "mix", "scale"), knobs, strict=True):
        if not _broadcasts(knob.shape, x.shape):
            raise ValueError(
                f"{name} must broadcast to the shape {tuple(x.shape)} of x, got {tuple(knob.shape)}; "
                "one value per channel of (N, C, H, W) has shape (C, 1, 1)"
            )
    if torch.compiler.is_compiling():  # it fuses plain operations itself, and cannot look into functions with a jvp
        return _composed(x, *knobs)
    result = _TrainableUnit.apply(x, *knobs)  # type: ignore[no-untyped-call]
    return result


@method(
    Reference(
        authors="Leyang Hu, Matteo Gamba, Randall Balestriero",
        title="Curvature Tuning: Provable Training-free Model Steering From a Single Parameter",
        venue="NeurIPS",
        year=2025,
        arxiv="2502.07783",
    ),
    cost="two transcendental functions an entry and two more for the gradient; keeps its input alone",
)
class CurvatureUnit(nn.Module):
    """An activation in place of ReLU whose corner is as sharp as one number says; see :func:`curvature_unit`.

    Args:
        beta: in [0, 1]; 1 is ReLU, to the bit.
        mix: in [0, 1]; weight of the branch that smooths the region assignment.
        scale: above 0; size of what comes in.

    Raises:
        ValueError: if one lies outside its range.

    Example:
        >>> CurvatureUnit(0.9)(torch.zeros(2))[0].item()  # (1 - mix)·(1 - beta)·ln 2
        0.0346...
    """

    def __init__(self, beta: float, mix: float = 0.5, *, scale: float = 1.0) -> None:
        super().__init__()
        curvature_unit(torch.zeros(1), beta, mix, scale=scale)  # refuse now what every call would refuse
        self.beta, self.mix, self.scale = float(beta), float(mix), float(scale)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the unit to every entry."""
        return curvature_unit(x, self.beta, self.mix, scale=self.scale)

    def extra_repr(self) -> str:
        """Describe the unit in the model's printout."""
        return f"beta={self.beta:g}, mix={self.mix:g}" + (f", scale={self.scale:g}" if self.scale != 1 else "")


class _FixedUnit(torch.autograd.Function):
    """The unit for numbers, from PyTorch's own fused kernels of its two branches."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: float, mix: float, scale: float) -> Tensor:
        sharpness, width = _shape(beta, scale)

        def unit(entries: Tensor) -> Tensor:
            entries = _computed(entries)
            smooth = F.softplus(entries, beta=1 / width, threshold=_LINEAR_FROM).mul_(1 - mix)
            if sharpness == 0:
                return smooth.add_(entries, alpha=mix / 2)
            return smooth.add_(F.silu(entries * sharpness, inplace=True), alpha=mix / sharpness)

        return by_runs(unit, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.beta, ctx.mix, ctx.scale = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _times_slope(grad, x, ctx.beta, ctx.mix, ctx.scale), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return _times_slope(tangent, x, ctx.beta, ctx.mix, ctx.scale)


def _times_slope(given: Tensor, x: Tensor, beta: float, mix: float, scale: float) -> Tensor:
    """Multiply by ``mix·[g + ηx·g(1 - g)] + (1 - mix)·σ(x/t)``."""
    sharpness, width = _shape(beta, scale)
    if torch.is_grad_enabled():  # somebody may differentiate this too, which the fused kernels do not allow
        wide = _computed(x)
        gate_at = wide * sharpness
        gate = gate_at.sigmoid()
        slope = mix * (gate + gate_at * gate * (1 - gate)) + (1 - mix) * (wide / width).sigmoid()
        return (_computed(given) * slope).to(given.dtype)

    def product(given: Tensor, entries: Tensor) -> Tensor:
        given, entries = _computed(given), _computed(entries)
        smooth = torch.ops.aten.softplus_backward(given, entries, 1 / width, _LINEAR_FROM)
        gated = torch.ops.aten.silu_backward(given, entries * sharpness)
        result: Tensor = smooth.mul_(1 - mix).add_(gated, alpha=mix)
        return result

    return by_runs(product, given, x)


class _TrainableUnit(torch.autograd.Function):
    """The unit for tensors of knobs, with the gradient of each."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: Tensor, mix: Tensor, scale: Tensor) -> Tensor:
        return _composed(x, beta, mix, scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, beta, mix, scale = ctx.saved_tensors
        slopes = _slopes(x, beta, mix, scale)
        needed = ctx.needs_input_grad
        given = _computed(grad)
        parts = [
            (given * slope).sum_to_size(knob.shape).to(knob.dtype) if wanted else None
            for slope, knob, wanted in zip(slopes, (x, beta, mix), needed, strict=False)
        ]
        return *parts, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        x, beta, mix, scale = ctx.saved_tensors
        moved = torch.zeros_like(_computed(x))
        for slope, tangent in zip(_slopes(x, beta, mix, scale), tangents, strict=False):
            if tangent is not None:
                moved = moved + slope * _computed(tangent)
        return moved.to(x.dtype)


def _composed(x: Tensor, beta: Tensor, mix: Tensor, scale: Tensor) -> Tensor:
    """Return the unit from plain operations."""
    wide = _computed(x)
    sharpness, width = _shapes(beta, scale)
    smooth = F.softplus(wide / width, threshold=_LINEAR_FROM) * width
    gated = wide * (wide * sharpness).sigmoid()
    return torch.where(beta >= 1, wide.relu(), smooth + mix * (gated - smooth)).to(x.dtype)


def _slopes(x: Tensor, beta: Tensor, mix: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of the unit in x, beta and mix, from differentiable operations."""
    wide = _computed(x)
    sharpness, width = _shapes(beta, scale)
    inside, gate_at = wide / width, wide * sharpness
    side, gate = inside.sigmoid(), gate_at.sigmoid()
    bell = gate * (1 - gate)
    in_x = mix * (gate + gate_at * bell) + (1 - mix) * side
    # The softplus branch moves with its width, by the binary entropy of the side; the gate with its sharpness.
    size = inside.abs()
    entropy = (-size).exp().log1p() + size * (-size).sigmoid()
    corner = (1 - beta).clamp_min(LEAST_WIDTH)
    open_ = (1 - beta > LEAST_WIDTH).to(beta.dtype)
    in_beta = mix * wide.square() * bell * (corner + open_ * beta) / (corner.square() * scale)
    in_beta = in_beta - (1 - mix) * open_ * scale * entropy
    in_mix = wide * gate - F.softplus(inside, threshold=_LINEAR_FROM) * width
    sharp = beta >= 1  # exactly ReLU: nothing depends on the knobs there
    relu_slope = (wide > 0).to(wide.dtype)
    return torch.where(sharp, relu_slope, in_x), torch.where(sharp, 0, in_beta), torch.where(sharp, 0, in_mix)


def _shape(beta: float, scale: float) -> tuple[float, float]:
    """Return the sharpness of the gate and the width of the corner."""
    corner = max(1 - beta, LEAST_WIDTH)
    return beta / (corner * scale), corner * scale


def _shapes(beta: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    corner = (1 - beta).clamp_min(LEAST_WIDTH)
    return beta / (corner * scale), corner * scale


def _broadcasts(knob: torch.Size, shape: torch.Size) -> bool:
    """Return whether a tensor of one shape broadcasts to the other without making it larger."""
    fitting = zip(reversed(knob), reversed(shape), strict=False)
    return len(knob) <= len(shape) and all(size in (1, full) for size, full in fitting)


def _computed(x: Tensor) -> Tensor:
    """Return the entries in the precision that the unit is computed in: near beta = 1 half precision overflows."""
    return x.float() if x.dtype in _HALF else x
