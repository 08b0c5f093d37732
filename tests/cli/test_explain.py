"""``trueline explain`` as a user meets it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.explaining import EXPLANATIONS
from trueline.train import RunConfig, train


def _invoke(*arguments: str | int | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {
        "name": "small",
        "data": {"name": "digits", "train_size": 200},
        "model": {"name": "mlp", "hidden": [8]},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "training": {"epochs": 2, "batch_size": 50, "device": "cpu"},
    }
    return train(RunConfig.model_validate(config), tmp_path_factory.mktemp("runs") / "small", progress=False).path


def test_a_run_is_explained_and_page_record_and_references_lie_beside_it(run: Path) -> None:
    found = _invoke("explain", run, "--what", "maps", "--what", "counterfactuals", "--samples", "8")
    assert found.exit_code == 0, found.output
    assert "Counterfactuals  8 of" in found.stdout
    assert "explain.html" in found.stdout
    assert "Explanations of small" in (run / "explain.html").read_text(encoding="utf-8")
    assert [probe["name"] for probe in json.loads((run / "explain.json").read_text())["probes"]] == [
        "maps", "counterfactuals",
    ]  # fmt: skip
    assert "A Geometric View of Counterfactual Behavior" in _invoke("cite", run).stdout


def test_json_holds_everything_and_writes_no_page_unasked(run: Path, tmp_path: Path) -> None:
    found = _invoke("explain", run, "--what", "representers", "--samples", "5", "--json", "--out", tmp_path / "x.html")
    record = json.loads(found.stdout)
    assert record["probes"][0]["measured"]
    assert len(record["probes"][0]["records"]["l2_representers"]["prediction"]) == 5
    assert (tmp_path / "x.html").is_file()


def test_the_sections_are_listed_with_their_questions() -> None:
    for arguments in (("explain",), ("explain", "--list")):
        printed = _invoke(*arguments).stdout
        assert all(name in printed and entry.question in printed for name, entry in EXPLANATIONS.items())
    assert [row["name"] for row in json.loads(_invoke("explain", "--list", "--json").stdout)] == list(EXPLANATIONS)


def test_bad_input_ends_with_2_and_the_fix(run: Path) -> None:
    wrong = _invoke("explain", run, "--what", "mops")
    assert wrong.exit_code == 2
    assert "did you mean 'maps'" in wrong.stderr
    missing = _invoke("explain", "no-such-run")
    assert missing.exit_code == 2
    assert "package.module:factory" in missing.stderr
