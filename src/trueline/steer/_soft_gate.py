"""GELU and SiLU with one knob for how sharp their gate is."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary


def soft_gate(
    x: Float[Tensor, "*shape"], beta: float, kind: str = "silu", *, approximate: str = "none"
) -> Float[Tensor, "*shape"]:
    """Apply a gated activation whose gate is softened: ``x·G(βx)``.

    G is the logistic function for SiLU and the normal distribution function for GELU. β = 1 is the activation itself,
    to the bit; β = 0 is ``x/2``. For every β ``φ(x) - φ(-x) = x``, as for the activation. The steering paper has no
    rule for networks that are smooth already; this one, which only softens, is ours. With logistic gate it is the
    branch of the curvature-tuning unit that smooths the region assignment, at the sharpness β.

    Args:
        x: entries of any shape, floating point.
        beta: in [0, 1].
        kind: ``"silu"`` or ``"gelu"``.
        approximate: ``"none"`` or ``"tanh"``, as for GELU.

    Returns:
        The values, of the shape and dtype of ``x``.

    Raises:
        ValueError: if β lies outside its range or the kind is unknown.

    Example:
        >>> soft_gate(torch.tensor([-1.0, 0.0, 1.0]), 0.0).tolist()
        [-0.5, 0.0, 0.5]
    """
    if has_torch_function_unary(x):  # what watches or reroutes activations sees the unit whole
        seen: Tensor = handle_torch_function(soft_gate, (x,), x, beta, kind, approximate=approximate)
        return seen
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must lie in [0, 1], got {beta}")
    if kind not in ("silu", "gelu"):
        raise ValueError(f"kind must be 'silu' or 'gelu', got {kind!r}")
    activation: Callable[[Tensor], Tensor] = (
        F.silu if kind == "silu" else lambda entries: F.gelu(entries, approximate=approximate)
    )
    if beta == 1:
        return activation(x)
    return x / 2 if beta == 0 else activation(x * beta) / beta


class SoftGate(nn.Module):
    """A GELU or SiLU whose gate is as sharp as one number says; see :func:`soft_gate`.

    Args:
        beta: in [0, 1]; 1 is the activation itself, to the bit.
        kind: ``"silu"`` or ``"gelu"``.

    Raises:
        ValueError: if β lies outside its range or the kind is unknown.

    Example:
        >>> SoftGate(1.0, "gelu")(torch.ones(1)).item()
        0.8413...
    """

    def __init__(self, beta: float, kind: str = "silu") -> None:
        super().__init__()
        soft_gate(torch.zeros(1), beta, kind)  # refuse now what every call would refuse
        self.beta, self.kind = float(beta), kind

    def forward(self, x: Float[Tensor, "*shape"], *, approximate: str = "none") -> Float[Tensor, "*shape"]:
        """Apply the activation to every entry.

        Args:
            x: entries of any shape.
            approximate: as for GELU.
        """
        return soft_gate(x, self.beta, self.kind, approximate=approximate)

    def extra_repr(self) -> str:
        """Describe the unit in the model's printout."""
        return f"beta={self.beta:g}, kind={self.kind!r}"
