"""The conformal methods by the names that the command line gives them, and what their thresholds may depend on."""

from collections.abc import Callable, Mapping
from typing import Any

from trueline import conformal
from trueline.contracts import ConformalClassifier, unknown_name

SCORES: Mapping[str, Callable[[float], ConformalClassifier]] = {
    "lac": conformal.LAC,
    "aps": conformal.APS,
    "raps": conformal.RAPS,
    "saps": conformal.SAPS,
    "margin": conformal.Margin,
}

CONDITIONS: Mapping[str, Callable[[Any], ConformalClassifier]] = {
    "none": lambda method: method,
    "class": conformal.ClassConditional,
    "cluster": conformal.ClusterConditional,
    "group": conformal.GroupConditional,
}


def sets_named(method: str, alpha: float, conditional: str = "none") -> ConformalClassifier:
    """Return the conformal method of a name, unfitted.

    Args:
        method: a key of ``SCORES``.
        alpha: wanted rate of misses, in (0, 1).
        conditional: a key of ``CONDITIONS``: what thresholds may depend on.

    Raises:
        ValueError: if there is none of that name; the message names the nearest.
    """
    if method not in SCORES:
        raise ValueError(unknown_name("method", method, SCORES))
    if conditional not in CONDITIONS:
        raise ValueError(unknown_name("condition", conditional, CONDITIONS))
    return CONDITIONS[conditional](SCORES[method](alpha))
