"""Arrays in a ``.npz`` file, read a run of rows at a time."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trueline.predictions._stored_array import NumpyArray, StoredArray, native_tensor

Stream: TypeAlias = Any  # what zipfile opens is no IO[bytes] to a checker at run time
_PIECE = 1 << 20  # bytes decompressed at once


def open_npz(path: Path) -> tuple[dict[str, StoredArray], tuple[str, ...] | None]:
    """Read what a file holds, but not its arrays.

    Args:
        path: a file that ``numpy.savez`` or ``numpy.savez_compressed`` wrote.

    Returns:
        Its arrays by name, and the array ``class_names`` as text, or None without it.

    Raises:
        ValueError: if an array holds Python objects, or is shorter or longer than it says.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    arrays: dict[str, StoredArray] = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        if key in arrays:
            raise ValueError(f"there are two arrays named {key!r}; keep one")
        arrays[key] = NpzArray(path, key, member)
    names = arrays.pop("class_names", None)
    return arrays, None if names is None else _text(names.whole())


class NpzArray(StoredArray):
    """One array of the file. In C order it streams; in Fortran order its rows are scattered, so it is read whole.

    Args:
        path: the file.
        key: name of the array.
        member: its place in the file.
    """

    def __init__(self, path: Path, key: str, member: zipfile.ZipInfo) -> None:
        self._path = path
        self._member = member
        if member.flag_bits & 1:
            raise ValueError(f"{key} is encrypted; save it without a password")
        with self._opened() as stream:
            try:
                shape, self._by_columns, self._dtype = _read_header(stream)
            except ValueError as error:
                raise ValueError(f"{key} is no array ({error}); write the file with numpy.savez") from error
            self._start = stream.tell()
        if self._dtype.hasobject:
            raise ValueError(
                f"{key} holds Python objects, which could run code when read; save an array of numbers or of text"
            )
        promised = self._start + math.prod(shape) * self._dtype.itemsize
        if promised != member.file_size:
            raise ValueError(f"{key} is damaged: {promised} bytes expected for shape {shape}, got {member.file_size}")
        super().__init__(key, shape, self._dtype.name)

    def runs(self, rows: int) -> Iterator[Tensor]:
        """Yield all rows in order, at most ``rows`` at a time."""
        if self._by_columns:
            yield from NumpyArray(self.name, self._all).runs(rows)
            return
        with self._opened() as stream:
            stream.read(self._start)  # the header
            for start in range(0, self.shape[0], rows):
                array = self._read(stream, min(rows, self.shape[0] - start))
                yield torch.from_numpy(array) if array.dtype.isnative else native_tensor(array)

    def whole(self) -> NDArray[Any]:
        """Return the whole array, in memory."""
        if self._by_columns:
            return self._all
        with self._opened() as stream:
            stream.read(self._start)  # the header
            return self._read(stream, self.shape[0] if self.shape else 1).reshape(self.shape)

    @cached_property
    def _all(self) -> NDArray[Any]:
        with self._opened() as stream:
            stream.read(self._start)  # the header
            array = np.empty(math.prod(self.shape), self._dtype)
            _fill(stream, array, self.name)
            return array.reshape(self.shape, order="F")

    def _read(self, stream: Stream, rows: int) -> NDArray[Any]:
        array = np.empty((rows, *self.shape[1:]), self._dtype)
        _fill(stream, array, self.name)
        return array

    @contextmanager
    def _opened(self) -> Iterator[Stream]:
        with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as stream:
            yield stream


def _read_header(stream: Stream) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of NumPy's format, which is for records")


def _fill(stream: Stream, array: NDArray[Any], key: str) -> None:
    if not array.nbytes:
        return
    target = array.reshape(-1).view(np.uint8)
    for start in range(0, len(target), _PIECE):
        piece = target[start : start + _PIECE]
        data = stream.read(len(piece))
        if len(data) < len(piece):
            raise ValueError(f"{key} ends too early; the file is cut off, write it again")
        piece[:] = np.frombuffer(data, np.uint8)


def _text(names: NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise ValueError(f"class_names must be a list of text, got {names.dtype} of shape {names.shape}")
    return tuple(str(name) for name in (np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names))
