"""A model that is asked questions and keeps no trace of them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode without parameter gradients, and everything back at the end.

    Training flags, gradient flags, buffers and the random states of torch, numpy and Python are put back, also after
    an exception.

    Args:
        model: any module.

    Yields:
        Nothing.

    Raises:
        TypeError: if the model is not a module.

    Cost:
        A copy of the buffers.

    Example:
        >>> model = nn.Dropout().train()
        >>> with left_as_found(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    flags = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [
        (module, name, value, None if value is None else value.clone())
        for module in model.modules()
        for name, value in module._buffers.items()
    ]
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  # the global state is what a model may draw from
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers()) if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            # The flags, not eval(): a model's own eval() may do more than can be undone.
            for module, _ in flags:
                module.training = False
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, flag in flags:
                module.training = flag
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
            with torch.no_grad():
                for module, name, value, content in buffers:
                    module._buffers[name] = value
                    if value is not None and content is not None and not torch.equal(value, content):
                        value.copy_(content)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
