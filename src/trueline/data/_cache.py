"""Decoded pixels kept between runs."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def cached(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """Return what ``make`` returns, from the cache if the same file was seen before.

    The cache folder is ``$TRUELINE_CACHE`` or ``~/.cache/trueline``. Entries are named by the file's name, size and
    time of change. A damaged entry is made again; a folder that cannot be written only costs time.

    Args:
        path: the file that ``make`` reads.
        make: reads and decodes it.

    Returns:
        The tensor.
    """
    facts = path.stat()
    folder = Path(os.environ.get("TRUELINE_CACHE") or Path.home() / ".cache" / "trueline")
    entry = folder / f"{path.name}-{facts.st_size}-{facts.st_mtime_ns}.safetensors"
    try:
        return load_file(entry)["pixels"]
    except (OSError, SafetensorError, KeyError):
        pixels = make()
    temporary = entry.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"pixels": pixels}, temporary)
        temporary.replace(entry)
    except (OSError, SafetensorError):
        with suppress(OSError):
            temporary.unlink()
    return pixels
