"""A copy of a model that keeps the same weights in the same memory."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from trueline.steer._as_found import tensors_in


def twin_of(model: nn.Module) -> nn.Module:
    """Copy a model without its weights, which the copy shares.

    Each parameter of the twin is one of its own on the same memory: what is written to a weight, by training either,
    is seen by both, while the gradient, the flag that asks for it, the dtype and the device belong to each alone.
    Buffers, such as running statistics, are the twin's own. Aliases stay aliases.

    Args:
        model: any module.

    Returns:
        The twin, in the same modes.

    Raises:
        TypeError: if something in the model cannot be copied.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = _same_memory(parameter)
    buffers = {id(buffer) for buffer in model.buffers()}
    for tensor in _attributes(model):  # such as a weight computed from others, which cannot be copied
        if id(tensor) not in buffers:
            memo.setdefault(id(tensor), tensor)
    kept = list(memo.values())  # deepcopy looks things up by address, so they must outlive it
    try:
        twin = copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise TypeError(
            f"{type(model).__name__} cannot be copied ({error}); steering(model, ...) is there to steer it in place"
        ) from error
    del kept
    return twin


def _same_memory(parameter: nn.Parameter) -> Tensor:
    shared = parameter.detach().as_subclass(type(parameter))
    shared.__dict__.update(parameter.__dict__)
    return shared.requires_grad_(parameter.requires_grad)


def _attributes(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        own = ("_parameters", "_buffers", "_modules")
        yield from tensors_in([value for name, value in vars(module).items() if name not in own])
