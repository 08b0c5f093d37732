"""Rows of the Jacobian of many samples, with as little work as the network allows."""

import math
import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from trueline.contracts import run_logits

_HELD_ENTRIES = 2**25  # of all rows of the samples that are worked on
_BACKWARD_ROWS = 2048  # rows of samples times classes that one backward pass carries at most


class JacobianRows:
    """Finds all rows of the Jacobian of each sample, as they are or turned by a rotation that keeps their products.

    Convolutions on a CPU go one class at a time, with the channels last: batches of classes leave its caches. All else
    goes many classes at a time. Batch norm in evaluation is one multiplication. A network whose first operation is a
    linear layer ``W`` that narrows the input, ``W = RᵀQᵀ`` with orthonormal ``Q``, is differentiated in that layer's
    output only: the rows ``δW`` have the products of the shorter rows ``δRᵀ``.

    Args:
        model: in evaluation mode, without parameter gradients.
        samples: how many there are in all; what is prepared once must pay for many.
    """

    def __init__(self, model: nn.Module, samples: int) -> None:
        self._model = model
        self._samples = samples
        self._convolves = any(isinstance(module, _ConvNd) for module in model.modules())
        self._factors: dict[int, Tensor] = {}

    def count(self, inputs: Float[Tensor, "N *shape"]) -> tuple[int, int]:
        """Return how many rows a Jacobian has, and how many samples suit the device.

        Args:
            inputs: all samples.
        """
        with torch.no_grad():
            rows = run_logits(self._model, inputs[:1].clone()).numel()
        held = _HELD_ENTRIES // (rows * inputs[0].numel())
        return rows, max(1, min(held, 32 if self._one_class_at_a_time(inputs) else 256))

    def run(self, inputs: Float[Tensor, "B *shape"]) -> tuple[Float[Tensor, "B *C"], Float[Tensor, "B *shape"]]:
        """Return the outputs and the leaf that they can be differentiated in.

        Args:
            inputs: the samples.

        Raises:
            ValueError: if the outputs do not depend on it.
        """
        leaf = self._leaf(inputs)
        with _AffineBatchNorm():
            outputs = run_logits(self._model, leaf.clone())  # the model may write into its input
        _check_depends(outputs, leaf)
        return outputs, leaf

    def find(self, inputs: Float[Tensor, "B *shape"]) -> tuple[Float[Tensor, "B *C"], Float[Tensor, "B K D"]]:
        """Return the outputs and the rows of their Jacobian.

        Args:
            inputs: the samples.

        Raises:
            ValueError: if the outputs do not depend on it.
        """
        leaf = self._leaf(inputs)
        first = _FirstLinear(leaf, self._samples)
        with _AffineBatchNorm(), first:
            outputs = run_logits(self._model, first.inputs)
        narrow = first.leaf
        if narrow is None:
            _check_depends(outputs, leaf)
            return outputs, self._rows(outputs, leaf)
        if _depends(outputs, leaf) or not _depends(outputs, narrow):  # the input is used elsewhere too
            outputs, leaf = self.run(inputs)
            return outputs, self._rows(outputs, leaf)
        return outputs, self._rows(outputs, narrow) @ self._factor(first.weight)

    def _leaf(self, inputs: Tensor) -> Tensor:
        last = inputs.ndim == 4 and self._one_class_at_a_time(inputs)
        layout = torch.channels_last if last else torch.contiguous_format
        return inputs.detach().clone(memory_format=layout).requires_grad_()

    def _one_class_at_a_time(self, inputs: Tensor) -> bool:
        return self._convolves and inputs.device.type == "cpu"

    def _rows(self, outputs: Tensor, leaf: Tensor) -> Tensor:
        columns = outputs.reshape(len(outputs), -1)
        seeds = torch.eye(columns.shape[1], dtype=columns.dtype, device=columns.device)
        seeds = seeds[:, None].expand(-1, len(columns), -1)
        if not self._one_class_at_a_time(leaf):
            step = max(1, _BACKWARD_ROWS // len(columns))
            try:
                parts = [_batched(columns, leaf, block) for block in torch.split(seeds, step)]
                return torch.cat(parts).flatten(2).transpose(0, 1)
            except RuntimeError:
                pass  # an operation that cannot be batched: one class at a time
        parts = [_derivative(columns, leaf, seed).flatten(1) for seed in seeds]
        return torch.stack(parts, dim=1)

    def _factor(self, weight: Tensor) -> Tensor:
        if id(weight) not in self._factors:
            self._factors[id(weight)] = torch.linalg.qr(weight.detach().T, mode="r").R.T
        return self._factors[id(weight)]


def _derivative(outputs: Tensor, leaf: Tensor, seed: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(outputs, leaf, seed, retain_graph=True)
    return found


def _batched(outputs: Tensor, leaf: Tensor, seeds: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        (found,) = torch.autograd.grad(outputs, leaf, seeds, retain_graph=True, is_grads_batched=True)
    return found


def _depends(outputs: Tensor, leaf: Tensor) -> bool:
    """Return whether a leaf is in the graph of the outputs, without any computation where it is not."""
    seen: set[Any] = set()
    waiting = [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if getattr(node, "variable", None) is leaf:
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


def _check_depends(outputs: Tensor, leaf: Tensor) -> None:
    if not _depends(outputs, leaf):
        raise ValueError(
            "the model's output does not depend on its input in a differentiable way, so that there is no Jacobian; "
            "look for detach(), no_grad() or rounding in its forward"
        )


class _AffineBatchNorm(TorchFunctionMode):
    """Runs batch norm in evaluation as one multiplication and addition, whose backward pass is cheap."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,  # the name that callers of PyTorch's function may use
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None or input.dtype != running_var.dtype:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    offset = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (-1, *[1] * (input.ndim - 2))
    return torch.addcmul(offset.view(shape), input, scale.view(shape))


class _FirstLinear(TorchFunctionMode):
    """Cuts the graph after a linear layer whose input is the flattened sample itself, where that pays.

    Args:
        leaf: (B, ...) the samples; ``inputs`` is what the model should be run on.
        samples: how many there are in all.
    """

    def __init__(self, leaf: Tensor, samples: int) -> None:
        super().__init__()
        self.inputs = leaf.clone()
        self.leaf: Tensor | None = None
        self.weight = leaf
        self._samples = samples

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not F.linear or self.leaf is not None or len(args) < 2 or not self._pays(*args[:2]):
            return result
        self.weight = args[1]
        self.leaf = result.detach().requires_grad_()
        return self.leaf.clone()  # the model may write into it

    def _pays(self, x: Tensor, weight: Tensor) -> bool:
        width, size = weight.shape
        same = x.untyped_storage().data_ptr() == self.inputs.untyped_storage().data_ptr()
        untouched = same and x._version == 0 and x.shape == (len(self.inputs), math.prod(self.inputs.shape[1:]))
        # The factorisation costs about 2·width²·size, the rows beyond it classes·size·width each.
        return untouched and x.is_contiguous() and 2 * width <= size and width <= 4 * self._samples
