"""Imports of optional packages, with an error that names the extra."""

import importlib
from typing import Any


def import_optional(name: str, *, extra: str, purpose: str) -> Any:
    """Import an optional package, or say which extra brings it.

    Args:
        name: the module to import, such as ``"altair"``.
        extra: the extra of this library that installs it.
        purpose: what the caller needs it for, completing "... needs".

    Returns:
        The imported module.

    Raises:
        ImportError: if it is not installed, with the command that installs it.

    Example:
        >>> import_optional("json", extra="report", purpose="an example").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {name.partition('.')[0]}; install it with: pip install 'trueline[{extra}]'"
        ) from error
