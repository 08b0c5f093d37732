"""Dealing samples to folds at random."""

import torch
from jaxtyping import Int64
from torch import Tensor

from trueline.contracts._samples import default_generator


def deal_folds(
    count: int, folds: int, generator: torch.Generator | None = None, *, of: str = "samples"
) -> Int64[Tensor, " N"]:
    """Return the fold of each of some samples, dealt at random, so that sizes differ by at most one.

    Args:
        count: number of samples N.
        folds: number of folds, from 2 to the number of samples.
        generator: deals them; None for one seeded with 0.
        of: what the samples are, for the error.

    Returns:
        (N,) numbers in [0, folds), int64, on the CPU.

    Raises:
        ValueError: if ``folds`` is out of range.

    Example:
        >>> deal_folds(7, 3).bincount().tolist()
        [3, 2, 2]
    """
    if not 2 <= folds <= count:
        raise ValueError(f"folds must lie in [2, {count}], the number of {of}, got {folds}")
    generator = default_generator(generator)
    fold = torch.empty(count, dtype=torch.int64)
    fold[torch.randperm(count, generator=generator, device=generator.device).cpu()] = torch.arange(count) % folds
    return fold
