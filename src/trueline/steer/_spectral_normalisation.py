"""Spectral normalisation by the operator itself: Miyato et al. (2018), for convolutions Ryu et al. (2019)."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from trueline.contracts import Reference, method
from trueline.steer._unit_arithmetic import HALF

_FIRST_STEPS = 15  # of the power iteration, for a size that is new

Layer = TypeVar("Layer", bound=nn.Module)


@method(
    Reference(
        authors="Takeru Miyato, Toshiki Kataoka, Masanori Koyama, Yuichi Yoshida",
        title="Spectral Normalization for Generative Adversarial Networks",
        venue="ICLR",
        year=2018,
        arxiv="1802.05957",
    ),
    Reference(
        authors="Ernest K. Ryu, Jialin Liu, Sicheng Wang, Xiaohan Chen, Zhangyang Wang, Wotao Yin",
        title="Plug-and-Play Methods Provably Converge with Properly Trained Denoisers",
        venue="ICML",
        year=2019,
        arxiv="1905.05406",
    ),
    cost="in training the layer on three more samples a call, in evaluation on one",
)
def spectral_normalisation(layer: Layer, size: Sequence[int] | None = None) -> Layer:
    """Divide a layer's weight by the spectral norm of the map that it computes, from now on and in place.

    ``y = W·x/σ + bias`` with ``σ = max_{|x|=1} |W·x|``, where W is the layer without bias: for a convolution the whole
    map from images to images, with its padding, stride, dilation and groups, and not the matrix that its kernel can be
    reshaped to. The layer then stretches no distance, up to how well σ is known.

    σ is estimated from below, by power iteration: 15 steps for the size of input that is given here, and one more at
    each call in training mode. A call in evaluation mode changes nothing. The norm of a convolution depends on the
    size of its input, so that inputs of another size start over, with 15 steps: in training mode for good, in
    evaluation mode for the call alone. Gradients take σ into account. Weights that are all zero stay zero.

    The layer keeps its names, hooks and parameters; ``weight`` is still the one that is trained, not yet divided. Its
    state gets a buffer ``direction``, the unit input that is stretched the most, of shape (1, I, *size).

    Args:
        layer: ``nn.Linear`` or ``nn.Conv1d`` to ``nn.Conv3d``, no subclass with a forward of its own.
        size: spatial size of a convolution's inputs, such as (32, 32); None for the size of its kernel.

    Returns:
        The same layer.

    Raises:
        TypeError: if it is another kind of layer.
        ValueError: if it has no shape yet, its weight is computed from other parameters, or the size does not fit.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        >>> [round(x, 3) for x in spectral_normalisation(layer)(torch.tensor([3.0, 3.0])).tolist()]
        [3.0, 1.0]
    """
    kind = _SPECTRAL.get(type(layer))
    if kind is None:
        known = ", ".join(f"nn.{known.__name__}" for known in _SPECTRAL)
        raise TypeError(f"layer must be one of {known}, got {type(layer).__name__}")
    if any(is_lazy(parameter) for parameter in layer.parameters()):
        raise ValueError(f"{type(layer).__name__} has no shape yet; run the lazy model once first")
    if "weight" not in layer._parameters:
        raise ValueError("the layer's weight is computed from other parameters; remove its parametrisation first")
    kernel = getattr(layer, "kernel_size", ())
    reach = [width * (size - 1) + 1 for size, width in zip(kernel, getattr(layer, "dilation", ()), strict=True)]
    size = reach if size is None else list(size)
    if len(size) != len(kernel) or any(length < 1 for length in size):
        raise ValueError(f"size must be {len(kernel)} lengths of at least 1 for {type(layer).__name__}, got {size}")
    changed: Any = layer
    changed.__class__ = kind
    try:
        changed.register_buffer("direction", changed._fresh(size))
    except RuntimeError as error:
        changed.__class__ = _KINDS[kind]
        raise ValueError(f"inputs of size {tuple(size)} do not fit {layer}: {error}") from error
    return layer


class _Spectral(nn.Module):
    """A layer whose weight is divided by its norm whenever it is called."""

    weight: Tensor
    bias: Any
    direction: Tensor

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Apply the layer with its weight divided.

        Args:
            input: what the layer takes.
        """
        norm = self._norm(tuple(input.shape[input.ndim - self.direction.ndim + 2 :]))
        return self._run(input, self.weight / torch.where(norm > 0, norm, 1).to(self.weight.dtype), self.bias)

    def _norm(self, size: tuple[int, ...]) -> Tensor:
        """Return the estimate of σ for inputs of a spatial size, with its gradient in the weight."""
        known = tuple(self.direction.shape[2:]) == size
        if self.training and known:
            with torch.no_grad():
                self.direction.copy_(self._improved(self.direction, 1))
        elif self.training:
            self.direction = self._fresh(size)
        # What is kept for the gradient must outlive the next step, which writes over the buffer.
        direction = self.direction.clone() if known or self.training else self._fresh(size)
        with torch.autocast(self.weight.device.type, enabled=False):
            norm: Tensor = torch.linalg.vector_norm(self._run(_wide(direction), _wide(self.weight), None))
        return norm

    def _fresh(self, size: Sequence[int]) -> Tensor:
        shape = (1, self.weight.shape[1] * getattr(self, "groups", 1), *size)
        start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return self._improved(start.to(self.weight), _FIRST_STEPS)

    def _improved(self, direction: Tensor, steps: int) -> Tensor:
        """Return the direction after steps of ``v ← WᵀWv/|WᵀWv|``."""
        device = self.weight.device.type
        # The adjoint by autograd, which knows every padding; it must run where gradients are otherwise off.
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device, enabled=False):
            weight, found = _wide(self.weight.detach().clone()), _wide(direction.detach().clone())
            for _ in range(steps):
                found.requires_grad_()
                image = self._run(found, weight, None)
                (back,) = torch.autograd.grad(image, found, image.detach())
                length = torch.linalg.vector_norm(back)
                found = torch.where(length > 0, back / length, found.detach())
            return found.detach().to(direction.dtype)

    def _run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


class _SpectralConv(_Spectral):
    _conv_forward: Any

    def _run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = self._conv_forward(x, weight, bias)
        return result


class SpectralLinear(_Spectral, nn.Linear):
    """What :func:`spectral_normalisation` makes of ``nn.Linear``."""

    def _run(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


class SpectralConv1d(_SpectralConv, nn.Conv1d):
    """What :func:`spectral_normalisation` makes of ``nn.Conv1d``."""


class SpectralConv2d(_SpectralConv, nn.Conv2d):
    """What :func:`spectral_normalisation` makes of ``nn.Conv2d``."""


class SpectralConv3d(_SpectralConv, nn.Conv3d):
    """What :func:`spectral_normalisation` makes of ``nn.Conv3d``."""


_SPECTRAL: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: SpectralLinear,
    nn.Conv1d: SpectralConv1d,
    nn.Conv2d: SpectralConv2d,
    nn.Conv3d: SpectralConv3d,
}
_KINDS = {kind: plain for plain, kind in _SPECTRAL.items()}


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in HALF else x
