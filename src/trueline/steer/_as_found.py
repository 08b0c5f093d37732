"""A model, its example and the random state, put back as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Protected:
    """Memory that is copied just before something writes to it, and put back later.

    Args:
        tensors: the tensors to protect, with whatever shares their memory.
    """

    def __init__(self, tensors: Iterator[Tensor]) -> None:
        storages = (tensor.untyped_storage() for tensor in tensors if tensor.layout == torch.strided)
        self._storages = {storage._cdata: storage for storage in storages}
        self._copies: dict[int, torch.UntypedStorage] = {}

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Copy the protected memory that an operation is about to write to.

        Args:
            func: an ``OpOverload``.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        schema = func._schema
        unannounced = "batch_norm" in schema.name  # updates its running statistics without saying so
        if not (schema.is_mutable or unannounced):
            return
        for place, argument in enumerate(schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if unannounced or (argument.alias_info is not None and argument.alias_info.is_write):
                for tensor in tensors_in(value):
                    self._copy(tensor)

    def restore(self) -> None:
        """Put back what was written to."""
        for key, copy in self._copies.items():
            self._storages[key].copy_(copy)
        self._copies.clear()

    def _copy(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided or tensor.device.type == "meta":
            return
        key = tensor.untyped_storage()._cdata
        if key in self._storages and key not in self._copies:
            self._copies[key] = self._storages[key].clone()  # type: ignore[no-untyped-call]


@contextmanager
def as_found(model: nn.Module, example: Any) -> Iterator[Protected]:
    """Put the model in evaluation mode, and everything back at the end, also after an exception.

    Attributes of the modules (training flags, hooks, registered tensors and whatever a forward stores) are put back
    by reference; memory that the caller reports to the yielded object as written to, by content.

    Args:
        model: any module.
        example: its inputs, in any nesting of lists, tuples and dicts.

    Yields:
        The protection of parameters, buffers and the example.
    """
    modules = list(model.modules())
    tensors = [*model.parameters(), *model.buffers()]
    protected = Protected(iter([*tensors, *tensors_in(example)]))
    flags = [module.training for module in modules]
    attributes = [_Attributes(module) for module in modules]
    gradients = [(tensor, tensor.requires_grad, tensor.grad) for tensor in model.parameters()]
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  # the global state is what a model may draw from
    with torch.random.fork_rng(devices=_cuda_devices([*tensors, *tensors_in(example)])):
        try:
            # The flags, not eval(): a model's own eval() may do more than can be undone.
            for module in modules:
                module.training = False
            yield protected
        finally:
            for kept in attributes:
                kept.restore()
            for module, flag in zip(modules, flags, strict=True):
                module.training = flag
            protected.restore()
            for tensor, flag, gradient in gradients:
                tensor.requires_grad_(flag)
                tensor.grad = gradient
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Find the tensors in nested lists, tuples and dicts.

    Args:
        value: anything.

    Yields:
        The tensors, depth first.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


class _Attributes:
    """The attributes of a module, and the contents of its dicts and lists, by reference."""

    def __init__(self, module: nn.Module) -> None:
        self._mine = module.__dict__
        self._attributes = dict(module.__dict__)
        values = self._attributes.values()
        self._dicts = [(value, dict(value)) for value in values if isinstance(value, dict)]
        self._lists = [(value, list(value)) for value in values if isinstance(value, list)]

    def restore(self) -> None:
        _refill(self._mine, self._attributes)
        for found, content in self._dicts:
            _refill(found, content)
        for items, kept in self._lists:
            items[:] = kept


def _refill(found: dict[Any, Any], content: dict[Any, Any]) -> None:
    found.clear()
    found.update(content)


def _cuda_devices(tensors: list[Tensor]) -> list[torch.device]:
    return list({tensor.device for tensor in tensors if tensor.is_cuda})
