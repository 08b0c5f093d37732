"""The order of samples in an epoch, cut into steps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Order:
    """Which samples make up each step; everything follows from the seed and the epoch."""

    size: int
    batch_size: int
    seed: int
    shuffle: bool

    @property
    def steps(self) -> int:
        return -(-self.size // self.batch_size)

    @property
    def smallest(self) -> int:
        return self.size // self.steps

    def batches(self, epoch: int, start: int) -> Iterator[tuple[int, Tensor]]:
        if epoch < 0 or not 0 <= start <= self.steps:
            raise ValueError(f"epoch must be at least 0 and start in [0, {self.steps}], got {epoch} and {start}")
        positions = torch.arange(self.size)
        if self.shuffle:
            positions = torch.randperm(self.size, generator=seeded(self.seed, epoch, 0))
        return iter(list(enumerate(positions.tensor_split(self.steps)))[start:])


def seeded(*key: int) -> torch.Generator:
    """Return a CPU generator for a key of whole numbers of at least 0; all keys in use have one length."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed))
