"""An object of the user's own, by its import path."""

import importlib
from typing import Any


def named_object(path: str, *, kind: str) -> Any:
    """Return what ``"package.module:name"`` names.

    Args:
        path: import path of a module, a colon, and a name in it.
        kind: what is looked for, completing "... of your own".

    Raises:
        ValueError: if the path is malformed or leads nowhere.

    Example:
        >>> named_object("math:pi", kind="a number")
        3.14159...
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"{kind} of your own is named 'package.module:name', got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks something itself
        raise ValueError(f"there is no module {module_name!r}; is its folder on PYTHONPATH?") from error
    if not hasattr(module, name):
        raise ValueError(f"module {module_name!r} has no {name!r}")
    return getattr(module, name)
