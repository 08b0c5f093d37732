"""Rows from every process, so that each can keep the same per-sample state."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of all processes, in rank order; the tensors themselves in a single process.

    The processes may hold different numbers of rows: each pads to the longest and all trim again.

    Args:
        *tensors: tensors that share their first axis, on the device of the process group.

    Returns:
        The same tensors with the rows of all ranks concatenated, equal to the bit on every rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensors
    world_size = dist.get_world_size()
    length = torch.tensor([len(tensors[0])], device=tensors[0].device)
    lengths = [torch.empty_like(length) for _ in range(world_size)]
    dist.all_gather(lengths, length)
    counts = [int(n) for n in torch.cat(lengths)]
    gathered = []
    for tensor in tensors:
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(world_size)]
        dist.all_gather(parts, padded)
        gathered.append(torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]))
    return tuple(gathered)
