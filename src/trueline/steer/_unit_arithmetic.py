"""The arithmetic of the curvature-tuning unit: one fused function for fixed knobs, one for knobs that learn."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trueline.steer._runs import by_runs
from trueline.steer._unit_rows import LEAST_WIDTH, gradients_by_rows, rows_of, values_by_rows

HALF = (torch.float16, torch.bfloat16)
_LINEAR_FROM = 40.0  # in corner widths; what the softplus branch then misses is below the precision of float64


class FixedUnit(torch.autograd.Function):
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


class TrainableUnit(torch.autograd.Function):
    """The unit for tensors of knobs, with the gradient of each."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: Tensor, mix: Tensor, scale: Tensor) -> Tensor:
        rows = rows_of(x, (beta, mix, scale))
        if not rows:
            return composed(x, beta, mix, scale)
        return values_by_rows(_computed(x), rows, (beta, mix, *_shapes(beta, scale), scale)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, beta, mix, scale = ctx.saved_tensors
        needed, given = ctx.needs_input_grad, _computed(grad)
        rows = [] if torch.is_grad_enabled() else rows_of(x, (beta, mix, scale))
        if rows:  # nobody differentiates this again
            knobs = (beta, mix, *_shapes(beta, scale), scale)
            in_x, in_beta, in_mix = gradients_by_rows(_computed(x), given, rows, knobs, needed)
            return None if in_x is None else in_x.to(x.dtype), in_beta, in_mix, None
        slopes = _slopes(x, beta, mix, scale)
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


def composed(x: Tensor, beta: Tensor, mix: Tensor, scale: Tensor) -> Tensor:
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


def _computed(x: Tensor) -> Tensor:
    """Return the entries in the precision that the unit is computed in: near beta = 1 half precision overflows."""
    return x.float() if x.dtype in HALF else x
