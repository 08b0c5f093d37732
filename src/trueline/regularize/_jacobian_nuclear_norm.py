"""The nuclear norm of the Jacobian as a penalty, without a Jacobian, by Scarvelis and Solomon (2024)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts import Reference, method
from trueline.regularize._replay import Replay

_SPACINGS = 10  # least sigma, in spacings of the coarsest number format about 1


class NuclearNormPenalty(NamedTuple):
    """What one pass through both halves of a network gives.

    Attributes:
        penalty: (B,) ``½(‖J_h‖_F² + ‖J_g‖_F²)`` of each sample, estimated; add ``η`` times its mean to the loss.
        outputs: what the network returns for the inputs, ``g(h(x))``, for the loss itself.
        encoder: (B,) the estimate of ``‖J_h(x)‖_F²``.
        head: (B,) the estimate of ``‖J_g(h(x))‖_F²``.
    """

    penalty: Float[Tensor, " B"]
    outputs: Float[Tensor, "B *outputs"]
    encoder: Float[Tensor, " B"]
    head: Float[Tensor, " B"]

    @property
    def balance(self) -> float:
        """Return the two terms' ratio, ``mean ‖J_h‖_F² / mean ‖J_g‖_F²``.

        Only where it is 1 can the penalty be the nuclear norm; else it is above. Training brings it there. Infinite
        where the head is constant, and NaN where both are.
        """
        encoder, head = (term.detach().double().mean() for term in (self.encoder, self.head))
        return (encoder / head).item()


@method(
    Reference(
        authors="Christopher Scarvelis, Justin Solomon",
        title="Nuclear Norm Regularization for Deep Learning",
        venue="NeurIPS",
        year=2024,
        arxiv="2405.14544",
        doi="10.52202/079017-3691",
    ),
    cost="one more forward and backward pass",
)
def jacobian_nuclear_norm_penalty(
    encoder: nn.Module,
    head: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    *,
    sigma: float = 1e-3,
    generator: torch.Generator | None = None,
) -> NuclearNormPenalty:
    """Return a penalty whose least value over factorisations ``f = g∘h`` is the nuclear norm of the Jacobian of f.

    ``½(‖J_h(x)‖_F² + ‖J_g(h(x))‖_F²) >= ‖J_f(x)‖_*``, the sum of the singular values, with equality where the
    factors are balanced. Training ``E[loss] + η·E[penalty]`` therefore solves ``E[loss] + η·E‖J_f‖_*``, which makes f
    vary in few directions. No Jacobian is formed: with noise ``e ~ N(0, σ²I)``, one draw for each sample and term,

    ``‖J_h(x)‖_F² ≈ ‖h(x + e) - h(x)‖²/σ²``,

    which is unbiased for linear h, with a relative standard deviation of ``√2·‖JᵀJ‖_F/‖J‖_F²``. Gradients flow through
    every term.

    The published objective ``η/(2σ²B)·Σ_n[‖h(x_n + e_n) - h(x_n)‖² + ‖g(z_n + e'_n) - g(z_n)‖²]`` is
    ``η·penalty.mean()``. The bound is tight only if the hidden width is at least the rank, and if the factors can be
    rescaled; :attr:`NuclearNormPenalty.balance` tells how far training has come. Smooth activations are advised: a ReLU
    factor has the right Jacobian, but the noise seldom sees its kinks.

    Both passes through a factor draw the same dropout masks and see the same buffers. Batch norm in training mode is
    refused, because a sample's noise would then move the others.

    Args:
        encoder: h, from inputs to features (B, ...), such as ``model[:-1]`` of a sequence.
        head: g, from those features to outputs.
        inputs: (B, ...) floating point, on the modules' device.
        sigma: standard deviation of the noise, in units of the inputs and of the features; positive. It must be at
            least ten spacings of the coarsest number format in use: 0.01 in float16, 0.08 in bfloat16.
        generator: draws the noise; None for PyTorch's global random state, as dropout does.

    Returns:
        The penalty of each sample, the outputs and both terms. The penalty is in squared units of features per
        input plus squared units of outputs per feature.

    Raises:
        TypeError: if the inputs are not floating point, or a factor is no module or does not return such a tensor.
        ValueError: if the batch is empty, sigma is out of range or too small for the number format, a factor does not
            return one row for each sample, or a batch-norm layer would couple samples.

    Example:
        >>> encoder, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        >>> for factor in (encoder, head):
        ...     _ = nn.init.eye_(factor.weight)
        >>> noise = torch.Generator().manual_seed(0)
        >>> terms = jacobian_nuclear_norm_penalty(encoder, head, torch.zeros(20_000, 2), generator=noise)
        >>> round(terms.penalty.mean().item(), 1), round(terms.balance, 1)  # the nuclear norm of the unit matrix
        (2.0, 1.0)
    """
    _check(encoder, head, inputs, sigma)
    features, first = _pass_twice(encoder, inputs, sigma, generator)
    outputs, second = _pass_twice(head, features, sigma, generator)
    return NuclearNormPenalty((first + second) / 2, outputs, first, second)


def _pass_twice(
    factor: nn.Module, inputs: Tensor, sigma: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return a factor's outputs, and how far noise moves them: squared, relative to its variance."""
    device = inputs.device if generator is None else generator.device
    noise = torch.randn(inputs.shape, generator=generator, device=device, dtype=inputs.dtype).to(inputs.device)
    replay = Replay(factor)
    outputs = _run(factor, inputs)
    with replay.again():
        moved = _run(factor, inputs + sigma * noise)
    squares = (moved.double() - outputs.double()).reshape(len(inputs), -1).square().sum(dim=1)
    return outputs, (squares / sigma**2).to(torch.promote_types(outputs.dtype, torch.float32))


def _run(factor: nn.Module, inputs: Tensor) -> Tensor:
    outputs = factor(inputs)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = outputs.dtype if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TypeError(f"{type(factor).__name__} must return a floating-point tensor, got {kind}")
    if outputs.ndim == 0 or len(outputs) != len(inputs):
        raise ValueError(
            f"{type(factor).__name__} must return one row for each of {len(inputs)} samples, got {tuple(outputs.shape)}"
        )
    return outputs


def _check(encoder: nn.Module, head: nn.Module, inputs: Tensor, sigma: float) -> None:
    for name, factor in (("encoder", encoder), ("head", head)):
        if not isinstance(factor, nn.Module):
            raise TypeError(f"{name} must be a torch.nn.Module, got {type(factor).__name__}; wrap a function in one")
        for path, module in factor.named_modules():
            if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
                raise ValueError(
                    f"the batch-norm layer {path!r} of the {name} takes its statistics from the batch, so that the "
                    "noise of one sample moves the others; put it in evaluation mode, or use layer or group norm"
                )
    if not inputs.is_floating_point():
        raise TypeError(f"inputs must be floating point, got {inputs.dtype}; convert with inputs.float()")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise ValueError(f"inputs must have shape (B, ...) with B >= 1, got {tuple(inputs.shape)}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive, got {sigma}")
    coarsest = max(_formats(encoder, head, inputs), key=lambda dtype: torch.finfo(dtype).eps)
    if sigma < (least := _SPACINGS * torch.finfo(coarsest).eps):
        raise ValueError(
            f"sigma must be at least {least:.2g} in {coarsest}, got {sigma}: rounding would be taken for a derivative; "
            f"compute the penalty in float32, outside of autocast, or pass sigma={least:.1g} or more"
        )


def _formats(encoder: nn.Module, head: nn.Module, inputs: Tensor) -> set[torch.dtype]:
    """Return the number formats that the passes are computed in."""
    weights = {w.dtype for factor in (encoder, head) for w in factor.parameters() if w.is_floating_point()}
    kind = inputs.device.type
    cast = {torch.get_autocast_dtype(kind)} if torch.is_autocast_enabled(kind) else set()
    return {inputs.dtype, *weights, *cast}
