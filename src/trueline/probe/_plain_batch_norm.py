"""Batch normalisation by running statistics, written as the affine map that it is."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class PlainBatchNorm(TorchFunctionMode):
    """Run ``batch_norm`` in evaluation mode as ``x·s + t``, whose derivatives of second order are cheaper.

    PyTorch differentiates the backward pass of its own kernel by a formula for both modes, much of which is zero in
    evaluation mode. The values agree to rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replace one function and pass on the others."""
        named = kwargs or {}
        if func is F.batch_norm and not named.get("training", args[5] if len(args) > 5 else False):
            return _affine(*args, **named)
        return func(*args, **named)


def _affine(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return ``(x - mean) / sqrt(var + eps) * weight + bias`` as one product and one sum."""
    del training, momentum
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale
    shift = shift if bias is None else shift + bias
    shape = (1, -1) + (1,) * (input.ndim - 2)
    return torch.addcmul(shift.view(shape), input, scale.view(shape))
