"""The gradient of a network in its input, as part of a loss: it can be differentiated in the weights."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts import ClassValue, check_samples, class_values


class InputSlopes:
    """A scalar of each sample, differentiated at points that a penalty chooses.

    The model runs in the mode that it is in and is left as found: what it writes into its buffers is forgotten, every
    pass draws the same dropout masks, and the random state stays where it was.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (B, C), or (B,) or (B, 1) log-odds.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.
        of: the scalar, see :func:`trueline.contracts.class_values`.

    Raises:
        ValueError: if the batch is empty or not finite, labels do not fit, or a batch-norm layer couples the samples.
        TypeError: if a dtype is wrong, or the model is no module.
    """

    def __init__(
        self, model: nn.Module, inputs: Float[Tensor, "B *shape"], labels: Int64[Tensor, " B"], of: ClassValue
    ) -> None:
        check_samples(model, inputs, labels)
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and module.training:
                raise ValueError(
                    f"the batch-norm layer {name!r} takes its statistics from the batch, so that the derivatives of "
                    "one sample are those of the others too; put it in evaluation mode, or use layer or group norm"
                )
        self.inputs = inputs.detach()
        self._model, self._labels, self._of = model, labels, of
        self._buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._devices = list({tensor.device for tensor in (inputs, *model.parameters()) if tensor.is_cuda})

    def at(self, points: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the gradients, which can be differentiated in the points and in the weights.

        Args:
            points: (B, ...) one for each sample, with ``requires_grad``.

        Raises:
            ValueError: if logits are not finite, or do not depend on the input.
            TypeError: if the model does not return a tensor.
        """
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        with torch.random.fork_rng(devices=self._devices), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = functional_call(self._model, buffers, (points.clone(),))
            if not isinstance(outputs, Tensor):
                raise TypeError(f"the model must return a tensor of logits (B, C), got {type(outputs).__name__}")
            scores = class_values(outputs, self._labels, self._of)
            slope = None
            if scores.requires_grad:
                (slope,) = torch.autograd.grad(scores.sum(), points, create_graph=True, allow_unused=True)
        if slope is None:
            raise ValueError("the logits do not depend on the inputs, or the model detaches them")
        return slope


def turn(
    slope: Float[Tensor, "B *shape"],
    points: Float[Tensor, "B *shape"],
    directions: Float[Tensor, "B *shape"],
    *,
    create_graph: bool,
) -> Float[Tensor, "B *shape"]:
    """Return the Hessian of each sample times its direction; zeros where the gradient is constant.

    Args:
        slope: (B, ...) from :meth:`InputSlopes.at`.
        points: (B, ...) where.
        directions: (B, ...) what to multiply.
        create_graph: whether the products can be differentiated in the weights.
    """
    found = None
    if slope.requires_grad:
        (found,) = torch.autograd.grad(
            slope, points, directions, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    return torch.zeros_like(points.detach()) if found is None else found


def directions_like(inputs: Float[Tensor, "B *shape"], generator: torch.Generator | None) -> Float[Tensor, "B *shape"]:
    """Return a random direction of length one for each sample.

    Args:
        inputs: (B, ...) samples.
        generator: draws; None for PyTorch's global random state, as dropout does.
    """
    device = inputs.device if generator is None else generator.device
    drawn = torch.randn(inputs.shape, generator=generator, device=device, dtype=inputs.dtype).to(inputs.device)
    lengths: Tensor = torch.linalg.vector_norm(drawn.flatten(1), dim=1)
    return drawn / lengths.view(-1, *[1] * (drawn.ndim - 1))


def uniform_like(
    inputs: Float[Tensor, "B *shape"], radius: float, generator: torch.Generator | None
) -> Float[Tensor, "B *shape"]:
    """Return points drawn uniformly from the cube about zero that reaches as far as the radius.

    Args:
        inputs: (B, ...) samples.
        radius: half the side of the cube.
        generator: draws; None for PyTorch's global random state, as dropout does.
    """
    device = inputs.device if generator is None else generator.device
    drawn = torch.rand(inputs.shape, generator=generator, device=device, dtype=inputs.dtype).to(inputs.device)
    return radius * (2 * drawn - 1)
