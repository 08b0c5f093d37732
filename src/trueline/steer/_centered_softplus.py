"""The centred softplus, by Srinivas et al. (2022): a smooth ReLU through the origin whose sharpness is trained."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from trueline.contracts import Reference, method
from trueline.steer._unit_arithmetic import HALF

LOW_CURVATURE = Reference(
    authors="Suraj Srinivas, Kyle Matoba, Himabindu Lakkaraju, François Fleuret",
    title="Efficient Training of Low-Curvature Neural Networks",
    venue="NeurIPS",
    year=2022,
    arxiv="2206.07144",
)
_FLOOR = 1e-3  # added to the sharpness, so that it can fall to zero


def centered_softplus(
    x: Float[Tensor, "*shape"], sharpness: float | Float[Tensor, "..."] = 5.0
) -> Float[Tensor, "*shape"]:
    """Apply the centred softplus to every entry.

    ``s(x) = [ln(1 + e^(ax)) - ln 2]/a`` with ``a = b + 0.001`` for the sharpness b: ``s(0) = 0``, the slope is
    ``σ(ax)``, between 0 and 1, and ``s''/s' = a·(1 - σ(ax))`` never exceeds a, which therefore bounds the normalised
    curvature of the unit. ``b → ∞`` is ReLU. At b = 0 it is ``x/2`` up to ``x²/8000``.

    Args:
        x: entries of any shape, floating point. Half precision is computed in float32 and returned as it came.
        sharpness: b, at least 0, per unit of x; a number, or a tensor that broadcasts against ``x`` and is not checked
            for its sign. The number ``math.inf`` gives ReLU, to the bit.

    Returns:
        The values, of the shape and dtype of ``x``; differentiable any number of times in both.

    Raises:
        ValueError: if a number is below 0, or a tensor does not broadcast to the shape of ``x``.
        TypeError: if ``x`` is not floating point.

    Cost:
        Two transcendental functions an entry; for the gradient one more, and two for that of a trained sharpness. Only
        the input is kept for it.

    Example:
        >>> centered_softplus(torch.tensor([-100.0, 0.0, 100.0]), 1.0)
        tensor([-0.6925,  0.0000, 99.3075])
    """
    if has_torch_function_unary(x):  # what watches or reroutes activations sees the unit whole
        seen: Tensor = handle_torch_function(centered_softplus, (x,), x, sharpness)
        return seen
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, got {x.dtype}; convert with x.float()")
    if not isinstance(sharpness, Tensor):
        if not sharpness >= 0:
            raise ValueError(f"sharpness must be at least 0, got {sharpness}")
        if sharpness == math.inf:
            return x.relu()
    wide = x.float() if x.dtype in HALF else x
    steepness = torch.as_tensor(sharpness, dtype=wide.dtype, device=x.device) + _FLOOR
    try:
        steepness.expand(x.shape)
    except RuntimeError as error:
        raise ValueError(
            f"sharpness must broadcast to the shape {tuple(x.shape)} of x, got {tuple(steepness.shape)}; "
            "one value per channel of (N, C, H, W) has shape (C, 1, 1)"
        ) from error
    if torch.compiler.is_compiling():  # it cannot look into functions with a jvp
        result: Tensor = (F.softplus(wide * steepness, threshold=40.0) - math.log(2)) / steepness
    else:
        result = _Centered.apply(wide, steepness)  # type: ignore[no-untyped-call]
    return result.to(x.dtype)


@method(
    LOW_CURVATURE,
    cost="one trained number; two transcendental functions an entry, three more for the gradients; keeps its input",
)
class CenteredSoftplus(nn.Module):
    """An activation in place of ReLU that learns how sharp its corner is; see :func:`centered_softplus`.

    Its one parameter is ``log_sharpness``. In place of a LeakyReLU of slope α it is ``αx + (1 - α)s(x)``.

    Args:
        sharpness: where b starts, above 0 and finite.

    Raises:
        ValueError: if it lies outside its range.

    Example:
        >>> unit = CenteredSoftplus()
        >>> unit, unit(torch.zeros(1)).item()
        (CenteredSoftplus(sharpness=5), 0.0)
    """

    def __init__(self, sharpness: float = 5.0) -> None:
        super().__init__()
        if not 0 < sharpness < math.inf:
            raise ValueError(f"sharpness must be above 0 and finite, got {sharpness}")
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """b, above 0, with its gradient."""
        return self.log_sharpness.exp()

    def forward(self, x: Float[Tensor, "*shape"], *, negative_slope: float = 0.0, **_: Any) -> Float[Tensor, "*shape"]:
        """Apply the unit to every entry.

        Args:
            x: entries of any shape.
            negative_slope: α of the LeakyReLU in whose place the unit stands.
            **_: options of other activations in whose place it stands, which it does not have.
        """
        value = centered_softplus(x, self.sharpness)
        return value if negative_slope == 0 else torch.lerp(value, x, negative_slope)

    def extra_repr(self) -> str:
        """Describe the unit in the model's printout."""
        return f"sharpness={self.sharpness:.4g}"


class _Centered(torch.autograd.Function):
    """The unit for a steepness, in a form that keeps its relative precision where the steepness is small."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, steepness: Tensor) -> Tensor:
        # ln((1 + e^-|z|)/2), without a sum that cancels.
        size = (x * steepness).abs()
        return x.relu() + size.neg().expm1().div(2).log1p() / steepness

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, steepness = ctx.saved_tensors
        slope = (x * steepness).sigmoid()
        in_x, in_steepness = ctx.needs_input_grad
        return (
            grad * slope if in_x else None,
            (grad * _slope_in_steepness(x, steepness, slope)).sum_to_size(steepness.shape) if in_steepness else None,
        )

    @staticmethod
    def jvp(ctx: Any, in_x: Tensor | None, in_steepness: Tensor | None) -> Tensor:
        x, steepness = ctx.saved_tensors
        slope = (x * steepness).sigmoid()
        moved = torch.zeros_like(x) if in_x is None else slope * in_x
        return moved if in_steepness is None else moved + _slope_in_steepness(x, steepness, slope) * in_steepness


def _slope_in_steepness(x: Tensor, steepness: Tensor, slope: Tensor) -> Tensor:
    value: Tensor = _Centered.apply(x, steepness)  # type: ignore[no-untyped-call]
    return (x * slope - value) / steepness
