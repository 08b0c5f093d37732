"""Tensors in a ``.safetensors`` file, read a run of rows at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from trueline.predictions._stored_array import StoredArray, TensorArray

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip


def open_safetensors(path: Path) -> tuple[dict[str, StoredArray], tuple[str, ...] | None]:
    """Read what a file holds, but not its tensors.

    Args:
        path: the file. Its metadata may hold ``class_names``, a JSON list of text; other metadata is not looked at.

    Returns:
        Its tensors by name, and the class names, or None without them.

    Raises:
        ValueError: if the class names are no JSON list of text.
    """
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("class_names")
        keys = file.keys()  # such a file does not iterate
        arrays: dict[str, StoredArray] = {key: _Entry(path, key, file.get_slice(key)) for key in keys}
    return arrays, None if text is None else _names(text)


class _Entry(StoredArray):
    def __init__(self, path: Path, key: str, entry: Any) -> None:
        kind = entry.get_dtype()
        super().__init__(key, tuple(entry.get_shape()), _DTYPES.get(kind, kind))
        self._path = path

    def runs(self, rows: int) -> Iterator[Tensor]:
        with safe_open(self._path, "pt") as file:
            entry = file.get_slice(self.name)
            for start in range(0, self.shape[0], rows):
                yield entry[start : start + rows]

    def whole(self) -> NDArray[Any]:
        with safe_open(self._path, "pt") as file:
            return TensorArray(self.name, file.get_tensor(self.name)).whole()


def _names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names in the metadata must be a JSON list of text, got {text[:60]!r}")
    return tuple(names)
