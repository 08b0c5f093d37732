"""Entrywise work on large arrays, run by run, so that what it sets aside stays in the cache."""

import threading
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_RUN = 1 << 15  # entries: PyTorch works them off in one thread, and a few temporaries of them fit in a core's cache
_SHARE = 1 << 17  # entries that are worth a thread


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
    whole = x.device.type != "cpu" or x.numel() <= _SHARE or torch.compiler.is_compiling() or _is_watched()
    if whole or not _is_filled(x) or any(tensor.stride() != x.stride() for tensor in others):
        return function(x, *others).to(x.dtype)
    result = torch.empty_like(x)
    flat, *inputs = (tensor.as_strided((x.numel(),), (1,)) for tensor in (result, x, *others))
    starts = range(0, x.numel(), _RUN)
    workers = min(torch.get_num_threads(), x.numel() // _SHARE)
    inference = torch.is_inference_mode_enabled()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            # A thread starts without the modes of the one that started it.
            with torch.inference_mode(inference), torch.no_grad():
                for start in starts[worker::workers]:
                    part = slice(start, start + _RUN)
                    flat[part] = function(*(tensor[part] for tensor in inputs))
        except BaseException as failure:
            failures.append(failure)

    helpers = [threading.Thread(target=work, args=(worker,)) for worker in range(1, workers)]
    for helper in helpers:
        helper.start()
    work(0)
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return result


def _is_filled(x: Tensor) -> bool:
    """Return whether the entries lie next to each other, in whatever order of the axes."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.is_contiguous() or (x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim]))


def _is_watched() -> bool:
    """Return whether a mode or a function transform is active, which other threads would not be under."""
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    return transformed or torch._C._len_torch_dispatch_stack() > 0
