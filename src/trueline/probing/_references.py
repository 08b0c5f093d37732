"""The record of a probed run that its folder keeps, and the references in it."""

import json
from dataclasses import asdict
from pathlib import Path

from trueline.contracts import Reference
from trueline.probing._records import ProbingFindings
from trueline.train import write_atomically

PROBED_RECORD = "probe.json"
"""What :func:`write_record` calls its file in the folder of a run."""


def write_record(found: ProbingFindings, folder: Path) -> Path:
    """Write everything that probing a run found into its folder, as JSON, and return the file.

    The references of earlier calls are kept, as a later one need not repeat all probes.

    Args:
        found: the findings.
        folder: the run that was probed.
    """
    references = dict.fromkeys([*probes_cited(folder), *found.references])
    record = {**found.to_dict(), "references": [asdict(reference) for reference in references]}
    path = folder / PROBED_RECORD
    write_atomically(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
    return path


def probes_cited(folder: Path) -> list[Reference]:
    """Return the references of the probes that a run was measured with; none if it never was.

    Args:
        folder: of the run.
    """
    path = folder / PROBED_RECORD
    if not path.is_file():
        return []
    return [Reference(**row) for row in json.loads(path.read_text(encoding="utf-8"))["references"]]
