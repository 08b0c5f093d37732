"""Arrays that are read a run of rows at a time, wherever they lie."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLOATS = ("float16", "bfloat16", "float32", "float64")


class StoredArray(ABC):
    """An array of N rows that need not fit in memory.

    Args:
        name: what an error calls it.
        shape: its axes, N first.
        dtype: what NumPy and PyTorch call the type of its entries, such as ``"float32"``.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype

    @abstractmethod
    def runs(self, rows: int) -> Iterator[Tensor]:
        """Yield all rows in order, at most ``rows`` at a time, on the CPU."""

    def whole(self) -> NDArray[Any]:
        """Return all rows, which may hold text."""
        return torch.cat(list(self.runs(max(1, self.shape[0])))).numpy()

    def take(self, rows: Tensor) -> Tensor:
        """Return the given rows in the given order, reading as far as the last of them."""
        wanted, place = torch.unique(rows, return_inverse=True)
        found: list[Tensor] = []
        start = 0
        for run in self.runs(max(1, (1 << 22) // max(1, int(np.prod(self.shape[1:]))))):
            stop = start + len(run)
            first, last = torch.searchsorted(wanted, torch.tensor([start, stop])).tolist()
            found.append(run[wanted[first:last] - start])
            start = stop
            if last == len(wanted):
                break
        return torch.cat(found)[place]


class TensorArray(StoredArray):
    """A tensor on any device; rows come to the CPU when they are asked for."""

    def __init__(self, name: str, values: Tensor) -> None:
        super().__init__(name, tuple(values.shape), str(values.dtype).removeprefix("torch."))
        self._values = values.detach()

    def runs(self, rows: int) -> Iterator[Tensor]:
        """Yield views of a tensor on the CPU, copies of one elsewhere."""
        for start in range(0, self.shape[0], rows):
            yield self._values[start : start + rows].cpu()

    def whole(self) -> NDArray[Any]:
        """Return a NumPy array; bfloat16, which NumPy lacks, as float32."""
        values = self._values.cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()

    def take(self, rows: Tensor) -> Tensor:
        """Return the given rows in the given order."""
        return self._values[rows.to(self._values.device)].cpu()


class NumpyArray(StoredArray):
    """A NumPy array, perhaps mapped from a file."""

    def __init__(self, name: str, values: NDArray[Any]) -> None:
        super().__init__(name, values.shape, values.dtype.name)
        self._values = values

    def runs(self, rows: int) -> Iterator[Tensor]:
        """Yield copies, so that nothing is read from the file before it is needed."""
        for start in range(0, self.shape[0], rows):
            yield native_tensor(self._values[start : start + rows])

    def whole(self) -> NDArray[Any]:
        """Return the array itself."""
        return self._values

    def take(self, rows: Tensor) -> Tensor:
        """Return the given rows in the given order."""
        return native_tensor(self._values[rows.numpy()])


def native_tensor(values: NDArray[Any]) -> Tensor:
    """Copy an array of numbers, of any byte order and any strides, into a tensor.

    Args:
        values: the array.

    Returns:
        A tensor that shares no memory with it.
    """
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
