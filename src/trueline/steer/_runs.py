"""Entrywise work on large arrays, run by run, so that what it sets aside stays in the cache."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

RUN = 1 << 18  # entries: a few temporaries of them fit in the caches, and PyTorch still shares them out to its threads


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
        (contiguous ones, and those with the channels last) are worked off in runs, which is faster and takes next to
        no memory beside the result; elsewhere all at once.
    """
    whole = x.device.type != "cpu" or x.numel() <= RUN or torch.compiler.is_compiling()
    if whole or not _is_filled(x) or any(tensor.stride() != x.stride() for tensor in others):
        return function(x, *others).to(x.dtype)
    result = torch.empty_like(x)
    flat, *inputs = (tensor.as_strided((x.numel(),), (1,)) for tensor in (result, x, *others))
    for start in range(0, x.numel(), RUN):
        part = slice(start, start + RUN)
        flat[part] = function(*(tensor[part] for tensor in inputs))
    return result


def _is_filled(x: Tensor) -> bool:
    """Return whether the entries lie next to each other, in whatever order of the axes."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.is_contiguous() or (x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim]))
