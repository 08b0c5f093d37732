"""Named arrays in a file, read without running anything that the file brings."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open


def read_array_file(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a ``.npz`` or ``.safetensors`` file by name.

    Args:
        path: the file. Lists of text cannot be tensors: they are JSON in a safetensors file's metadata.

    Returns:
        The arrays.

    Raises:
        ValueError: if there is no such file, it is of another type, or it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        if path.suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                texts = {key: np.array(json.loads(text)) for key, text in (file.metadata() or {}).items()}
                keys = file.keys()  # such a file does not iterate
                return texts | {key: file.get_tensor(key) for key in keys}
    except (OSError, EOFError, ValueError, AttributeError, SafetensorError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"arrays are read from .npz or .safetensors files, got {path.name}")
