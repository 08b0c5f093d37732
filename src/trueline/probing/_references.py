"""The record of a probed run that its folder keeps, and the references in it."""

import json
from dataclasses import asdict
from pathlib import Path

from trueline.contracts import Reference, write_atomically
from trueline.probing._records import ProbingFindings

RECORDS = ("probe.json", "explain.json")
"""What a run's folder calls the records of its geometry and of its explanations."""


def write_record(found: ProbingFindings, folder: Path, name: str = RECORDS[0]) -> Path:
    """Write everything that probing a run found into its folder, as JSON, and return the file.

    The references of earlier calls are kept, as a later one need not repeat all probes.

    Args:
        found: the findings.
        folder: the run that was probed.
        name: of the file, one of ``RECORDS``.
    """
    references = dict.fromkeys([*_cited(folder / name), *found.references])
    record = {**found.to_dict(), "references": [asdict(reference) for reference in references]}
    path = folder / name
    write_atomically(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
    return path


def probes_cited(folder: Path) -> list[Reference]:
    """Return the references of what a run was probed and explained with; none if it never was.

    Args:
        folder: of the run.
    """
    return list(dict.fromkeys(reference for name in RECORDS for reference in _cited(folder / name)))


def _cited(path: Path) -> list[Reference]:
    if not path.is_file():
        return []
    return [Reference(**row) for row in json.loads(path.read_text(encoding="utf-8"))["references"]]
