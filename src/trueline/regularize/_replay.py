"""A second forward pass that begins where the first one began."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Replay:
    """What forward passes draw and remember, kept before the first one so that a second one finds the same.

    The second pass draws the same dropout masks and sees the same buffers, and what it writes into them is forgotten:
    running statistics count a batch once. Buffers are swapped, never written, since the graph of the first pass may
    need them.

    Args:
        *models: whose buffers are kept, with the random states of torch (the CPU and their GPUs), numpy and Python.
    """

    def __init__(self, *models: nn.Module) -> None:
        self._owners = list({module: None for model in models for module in model.modules()})
        self._copies: dict[int, Tensor] = {}
        self._buffers = [
            (owner, name, None if value is None else self._copies.setdefault(id(value), value.detach().clone()))
            for owner in self._owners
            for name, value in owner._buffers.items()
        ]
        tensors = (tensor for model in models for tensor in (*model.parameters(), *model.buffers()))
        self._gpus = sorted({tensor.get_device() for tensor in tensors if tensor.is_cuda})
        self._random = self._random_states()

    @contextmanager
    def again(self) -> Iterator[None]:
        """Go back to the start; at the end, also after an exception, to where the first pass had arrived. Once only.

        Yields:
            Nothing.
        """
        arrived = [(owner, name, owner._buffers[name]) for owner, name, _ in self._buffers]
        random_states = self._random_states()
        try:
            _put_buffers(self._buffers)
            self._put_random_states(self._random)
            yield
        finally:
            _put_buffers(arrived)
            self._put_random_states(random_states)

    def _random_states(self) -> tuple[Tensor, list[Tensor], Any, Any]:
        gpus = [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]
        return torch.get_rng_state(), gpus, np.random.get_state(), random.getstate()  # noqa: NPY002  # closures draw

    def _put_random_states(self, states: tuple[Tensor, list[Tensor], Any, Any]) -> None:
        torch.set_rng_state(states[0])
        for gpu, state in zip(self._gpus, states[1], strict=True):
            torch.cuda.set_rng_state(state, gpu)
        np.random.set_state(states[2])  # noqa: NPY002
        random.setstate(states[3])


def _put_buffers(buffers: list[tuple[nn.Module, str, Tensor | None]]) -> None:
    for owner, name, value in buffers:
        owner._buffers[name] = value
