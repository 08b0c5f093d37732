"""The references of what a steered run used."""

import json
from pathlib import Path

from trueline import measure
from trueline.contracts import Reference, facts_of
from trueline.probe import normalised_curvature
from trueline.robustness import apgd_ce
from trueline.steer import search_beta
from trueline.steering._record import SteeringFindings
from trueline.subjects import STEERED_RECORD

_ALWAYS = (
    search_beta,
    measure.accuracy,
    measure.log_loss,
    measure.brier,
    measure.calibration_error,
    measure.confidence_gap,
)


def references_of(found: SteeringFindings) -> list[Reference]:
    """Return the references of what was measured, each once, in order of first use.

    Args:
        found: the findings of a steered run.
    """
    items: list[object] = list(_ALWAYS)
    if "robust_accuracy" in found.judgement.original:
        items.append(apgd_ce)
    if "normalised_curvature" in found.judgement.original:
        items.append(normalised_curvature)
    references: list[Reference] = []
    for item in items:
        try:
            references += facts_of(item).references
        except TypeError:  # not everything was published, a share for instance
            continue
    return list(dict.fromkeys(references))


def cited_by(path: Path) -> tuple[list[Reference], Path | None]:
    """Return what a steered folder says that it used.

    Args:
        path: the folder that ``trueline steer`` wrote.

    Returns:
        Its references, and the run that was steered, which has references of its own; None for a model of the user's.

    Raises:
        ValueError: if this is no steered folder.
    """
    if not is_steered(path):
        raise ValueError(f"{path} has no {STEERED_RECORD}; give the folder that `trueline steer` wrote")
    record = json.loads((path / STEERED_RECORD).read_text(encoding="utf-8"))
    source = record["source"].get("run")
    return [Reference(**row) for row in record["references"]], None if source is None else path / source


def is_steered(path: Path) -> bool:
    """Return whether a folder was written by ``trueline steer``.

    Args:
        path: any path.
    """
    return (path / STEERED_RECORD).is_file()
