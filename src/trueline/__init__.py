"""Trueline trues deep classifiers: honest targets, honest probabilities, measured geometry.

Each group is a package of its own and is imported on first use, so that ``import trueline`` costs
little more than importing PyTorch.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_GROUPS = (
    "calibrate",
    "contracts",
    "data",
    "measure",
    "models",
    "numerics",
    "recipes",
    "report",
    "supervise",
    "train",
)

__all__ = ["__version__", *_GROUPS]


def __getattr__(name: str) -> ModuleType:
    """Import the group called ``name`` the first time it is asked for (PEP 562)."""
    if name in _GROUPS:
        return importlib.import_module(f"trueline.{name}")
    raise AttributeError(f"module 'trueline' has no attribute {name!r}; its groups are {', '.join(_GROUPS)}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
