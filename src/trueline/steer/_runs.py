"""Entrywise work on large arrays, run by run, so that what it sets aside stays in the cache."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

RUN = 1 << 15  # entries: PyTorch works them off in one thread, and a few temporaries of them fit in a core's cache
SHARE = 1 << 17  # entries that are worth a thread

Part = TypeVar("Part")


def by_runs(
    function: Callable[..., Float[Tensor, "..."]], x: Float[Tensor, "..."], *others: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Apply an entrywise function to one or more tensors of the same shape.

    Args:
        function: returns a tensor of the shape of its inputs, each entry from the same entry of theirs.
        x: the first input; the result has its dtype.
        *others: further inputs.

    Returns:
        The same as ``function(x, *others)``. On a CPU large tensors whose entries fill their memory in the same order
        (contiguous ones, and those with the channels last) are worked off in runs, by as many threads as PyTorch uses.
        That is faster, takes next to no memory beside the result, and does not wait for all threads after every
        operation, which costs most where cores are shared. Elsewhere everything is done at once.
    """
    whole = x.numel() <= SHARE or not may_share_out(x)
    if whole or not _is_filled(x) or any(tensor.stride() != x.stride() for tensor in others):
        return function(x, *others).to(x.dtype)
    result = torch.empty_like(x)
    flat, *inputs = (tensor.as_strided((x.numel(),), (1,)) for tensor in (result, x, *others))

    def work(start: int) -> None:
        part = slice(start, start + RUN)
        flat[part] = function(*(tensor[part] for tensor in inputs))

    share_out(range(0, x.numel(), RUN), work, workers=x.numel() // SHARE)
    return result


def share_out(parts: Sequence[Part], work: Callable[[Part], None], *, workers: int) -> None:
    """Work off parts without gradient, in at most as many threads as PyTorch uses.

    Args:
        parts: what there is to do, in any order.
        work: does one part.
        workers: threads that are worth starting.
    """
    workers = max(1, min(torch.get_num_threads(), workers))
    inference = torch.is_inference_mode_enabled()
    failures: list[BaseException] = []

    def share(worker: int) -> None:
        try:
            # A thread starts without the modes of the one that started it.
            with torch.inference_mode(inference), torch.no_grad():
                for part in parts[worker::workers]:
                    work(part)
        except BaseException as failure:
            failures.append(failure)

    helpers = [threading.Thread(target=share, args=(worker,)) for worker in range(1, workers)]
    for helper in helpers:
        helper.start()
    share(0)
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]


def may_share_out(x: Tensor) -> bool:
    """Return whether work on a tensor can be cut up: on a CPU, and under no mode that other threads would not be under.

    Args:
        x: what is worked on.
    """
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    watched = torch._C._len_torch_dispatch_stack() > 0
    return not (x.device.type != "cpu" or torch.compiler.is_compiling() or transformed or watched)


def _is_filled(x: Tensor) -> bool:
    """Return whether the entries lie next to each other, in whatever order of the axes."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.is_contiguous() or (x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim]))
