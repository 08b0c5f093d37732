"""Names of runs that say what is varied, and that any file system takes."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 150  # file systems take 255 bytes, and temporary names are a little longer


def cell_name(values: Mapping[str, Any]) -> str:
    """Return the name of a run, which depends on its own values alone.

    Args:
        values: what is varied, by dotted key.

    Returns:
        ``key=value`` for every key, joined by commas. A value that is no number, list of numbers or plain word is
        written with what can be written of it and a short digest, and so is the end of a name that would be too long.

    Example:
        >>> cell_name({"model.width": 4, "model.hidden": [16, 8], "data.noise": None, "seed": 0})
        'model.width=4,model.hidden=16x8,data.noise=none,seed=0'
        >>> cell_name({"data.folder": "/data/cifar10"})
        'data.folder=data-cifar10~a4ac3f5a'
    """
    name = ",".join(f"{key}={_text(value)}" for key, value in values.items())
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}~{_digest(values)}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.+-]+", value):
        return value
    if isinstance(value, list | tuple) and value and all(type(item) in (int, float) for item in value):
        return "x".join(map(repr, value))
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    readable = re.sub(r"[^A-Za-z0-9_.+]+", "-", text).strip("-")
    return f"{readable[:40]}~{_digest(value)}"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
