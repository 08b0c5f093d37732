"""The curvature-tuning unit, by Hu, Gamba and Balestriero (2025): a ReLU with one knob for how sharp its corner is."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from trueline.contracts import method
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._unit_arithmetic import HALF, FixedUnit, TrainableUnit, composed


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
    if has_torch_function_unary(x):  # what watches or reroutes activations sees the unit whole
        seen: Tensor = handle_torch_function(curvature_unit, (x,), x, beta, mix, scale=scale)
        return seen
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
        result = FixedUnit.apply(x, beta, mix, scale)  # type: ignore[no-untyped-call]
        return result
    kind = torch.float32 if x.dtype in HALF else x.dtype
    knobs = [torch.as_tensor(value, dtype=kind, device=x.device) for value in (beta, mix, scale)]
    for name, knob in zip(("beta", "mix", "scale"), knobs, strict=True):
        if not _broadcasts(knob.shape, x.shape):
            raise ValueError(
                f"{name} must broadcast to the shape {tuple(x.shape)} of x, got {tuple(knob.shape)}; "
                "one value per channel of (N, C, H, W) has shape (C, 1, 1)"
            )
    if torch.compiler.is_compiling():  # it fuses plain operations itself, and cannot look into functions with a jvp
        return composed(x, *knobs)
    result = TrainableUnit.apply(x, *knobs)  # type: ignore[no-untyped-call]
    return result


@method(
    CURVATURE_TUNING,
    cost="two transcendental functions an entry and two more for the gradient; keeps its input alone",
)
class CurvatureUnit(nn.Module):
    """An activation in place of ReLU whose corner is as sharp as one number says; see :func:`curvature_unit`.

    In place of a LeakyReLU of slope α it is ``αx + (1 - α)φ(x)``.

    Args:
        beta: in [0, 1]; 1 is ReLU, to the bit. A number, or a tensor that broadcasts against the input, such as one of
            shape (C, 1, 1) for a value per channel; a tensor moves with the module and is not part of its state_dict.
        mix: in [0, 1]; weight of the branch that smooths the region assignment.
        scale: above 0; size of what comes in.

    Raises:
        ValueError: if one lies outside its range.

    Example:
        >>> CurvatureUnit(0.9)(torch.zeros(2))[0].item()  # (1 - mix)·(1 - beta)·ln 2
        0.0346...
    """

    beta: float | Tensor

    def __init__(self, beta: float | Float[Tensor, "..."], mix: float = 0.5, *, scale: float = 1.0) -> None:
        super().__init__()
        if isinstance(beta, Tensor):
            if not bool(((beta >= 0) & (beta <= 1)).all()):
                raise ValueError(f"beta must lie in [0, 1], got values from {beta.min():g} to {beta.max():g}")
            curvature_unit(torch.zeros(1), 1.0, mix, scale=scale)
            self.register_buffer("beta", beta.detach().clone(), persistent=False)
        else:
            curvature_unit(torch.zeros(1), beta, mix, scale=scale)  # refuse now what every call would refuse
            self.beta = float(beta)
        self.mix, self.scale = float(mix), float(scale)

    def forward(self, x: Float[Tensor, "*shape"], *, negative_slope: float = 0.0) -> Float[Tensor, "*shape"]:
        """Apply the unit to every entry.

        Args:
            x: entries of any shape.
            negative_slope: α of the LeakyReLU in whose place the unit stands.
        """
        return leaky(x, self.beta, self.mix, self.scale, negative_slope)

    def extra_repr(self) -> str:
        """Describe the unit in the model's printout."""
        beta = f"{tuple(self.beta.shape)}" if isinstance(self.beta, Tensor) else f"{self.beta:g}"
        return f"beta={beta}, mix={self.mix:g}" + (f", scale={self.scale:g}" if self.scale != 1 else "")


def leaky(
    x: Float[Tensor, "*shape"],
    beta: float | Float[Tensor, "..."],
    mix: float | Float[Tensor, "..."],
    scale: float,
    negative_slope: float,
) -> Float[Tensor, "*shape"]:
    """Return ``αx + (1 - α)φ(x)``: the unit in place of a LeakyReLU of slope α, to the bit at β = 1.

    Args:
        x: entries of any shape.
        beta: as for :func:`curvature_unit`.
        mix: likewise.
        scale: likewise.
        negative_slope: α; with 0 this is the unit itself.
    """
    if negative_slope == 0:
        return curvature_unit(x, beta, mix, scale=scale)
    if not isinstance(beta, Tensor) and beta == 1:
        return F.leaky_relu(x, negative_slope)
    return torch.lerp(curvature_unit(x, beta, mix, scale=scale), x, negative_slope)


def _broadcasts(knob: torch.Size, shape: torch.Size) -> bool:
    """Return whether a tensor of one shape broadcasts to the other without making it larger."""
    fitting = zip(reversed(knob), reversed(shape), strict=False)
    return len(knob) <= len(shape) and all(size in (1, full) for size, full in fitting)
