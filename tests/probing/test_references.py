"""A probed run keeps what was found, and every reference of it."""

import json
from pathlib import Path

import torch
from torch import nn

from trueline.data import Examples
from trueline.probing import PROBES, RECORDS, ProbingFindings, probe_subject, probes_cited, write_record
from trueline.subjects import subject_of_model


def _found(what: str) -> ProbingFindings:
    labels = torch.arange(12) % 2
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    examples = Examples(inputs, labels, labels, ("no", "yes"), torch.arange(12))
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    return probe_subject(subject_of_model(model, examples, name="small", halves=False), [what])


def test_a_run_that_was_never_probed_cites_nothing(tmp_path: Path) -> None:
    assert probes_cited(tmp_path) == []


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    found = _found("jacobian")
    path = write_record(found, tmp_path)
    assert path == tmp_path / "probe.json"
    assert tuple(probes_cited(tmp_path)) == found.references == PROBES["jacobian"].references
    record = json.loads(path.read_text())
    assert record["probes"][0]["name"] == "jacobian"
    assert {**record, "references": []} == {**json.loads(json.dumps(found.to_dict())), "references": []}


def test_a_later_call_forgets_no_reference(tmp_path: Path) -> None:
    write_record(_found("jacobian"), tmp_path)
    write_record(_found("regions"), tmp_path)
    cited = probes_cited(tmp_path)
    assert len(set(cited)) == len(cited)
    assert set(cited) == {*PROBES["jacobian"].references, *PROBES["regions"].references}


def test_geometry_and_explanations_are_kept_apart_and_cited_together(tmp_path: Path) -> None:
    for name, what in zip(RECORDS, ("jacobian", "regions"), strict=True):
        write_record(_found(what), tmp_path, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(RECORDS)
    assert set(probes_cited(tmp_path)) == {*PROBES["jacobian"].references, *PROBES["regions"].references}
