"""Trueline trues deep classifiers: honest targets, honest probabilities, measured geometry.

Each group is a package of its own and is imported on first use, so that ``import trueline`` costs
little more than importing PyTorch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_GROUPS = (
    "auditing",
    "calibrate",
    "calibrating",
    "conformal",
    "contracts",
    "counterfactual",
    "data",
    "explain",
    "explaining",
    "measure",
    "models",
    "numerics",
    "page",
    "predictions",
    "probe",
    "probing",
    "recipes",
    "regression",
    "regularize",
    "report",
    "robustness",
    "steer",
    "steering",
    "subjects",
    "supervise",
    "sweep",
    "train",
)

_VERBS = {"audit": "auditing", "load": "contracts"}  # functions to start from, and the group that holds each

__all__ = ["__version__", *_GROUPS, *_VERBS]


def __getattr__(name: str) -> Any:
    """Import the group called ``name``, or the one that holds it, the first time it is asked for (PEP 562)."""
    if name in _GROUPS:
        return importlib.import_module(f"trueline.{name}")
    if name in _VERBS:
        return getattr(importlib.import_module(f"trueline.{_VERBS[name]}"), name)
    known = ", ".join(_GROUPS)
    raise AttributeError(f"module 'trueline' has no attribute {name!r}; its groups are {known}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
