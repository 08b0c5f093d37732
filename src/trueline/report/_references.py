"""The references of everything that a configuration names."""

from collections.abc import Mapping
from typing import Any

from trueline import calibrate, data, measure
from trueline.contracts import Reference, facts_of
from trueline.models import MODELS, WithProjection
from trueline.supervise import OBJECTIVES, Contrastive

_ALWAYS = (
    measure.accuracy,
    measure.log_loss,
    measure.brier,
    measure.confidence_gap,
    measure.calibration_error,
    measure.reliability,
    calibrate.TemperatureScaling,
)
_NOISES = {"symmetric": data.symmetric_noise, "asymmetric": data.asymmetric_noise}


def references_of(config: Mapping[str, Any]) -> list[Reference]:
    """Return the references of what a run used, then of what every report measures.

    Args:
        config: a run's configuration, as ``RunFolder.config`` returns it.

    Returns:
        Each reference once, in order of first use.

    Raises:
        ValueError: if the configuration names an unknown objective, network or data set.

    Example:
        >>> references_of({"objective": {"name": "dps"}})[0].arxiv
        '2512.24162'
    """
    used: list[object] = []
    for table, catalogue in (("objective", OBJECTIVES), ("model", MODELS), ("data", data.SOURCES)):
        if name := config.get(table, {}).get("name"):
            used.append(catalogue[name])
    if config.get("contrastive"):
        used += [Contrastive, WithProjection]
    if config.get("data", {}).get("augment", {}).get("cutout"):
        used.append(data.Transform)
    noise = config.get("data", {}).get("noise") or {}
    if noise.get("kind") in _NOISES:
        used.append(_NOISES[noise["kind"]])
    return list(dict.fromkeys(reference for item in [*used, *_ALWAYS] for reference in _references(item)))


def _references(item: object) -> tuple[Reference, ...]:
    try:
        return facts_of(item).references
    except TypeError:  # not everything was published, an average for instance
        return ()
