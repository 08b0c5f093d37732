"""``trueline probe`` as a user meets it, and ``trueline audit`` of a model."""

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.explaining import EXPLANATIONS
from trueline.probing import PROBES
from trueline.train import RunConfig, train

MODULE = """
import torch
from torch import nn
from torch.utils.data import Dataset

class Points(Dataset):
    classes = ("low", "high")
    def __init__(self, size=80, seed=0):
        self.points = torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))
        self.targets = (self.points.sum(1) > 0).long()
    def __len__(self):
        return len(self.targets)
    def __getitem__(self, i):
        return self.points[i], self.targets[i]

class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(2, 8), act, nn.Linear(8, 2)
    def forward(self, x):
        return self.second(self.act(self.first(x)))

def make():
    torch.manual_seed(0)
    return Net(nn.ReLU())

def smooth():
    torch.manual_seed(0)
    return Net(nn.GELU())

def data():
    return Points(60, 1), Points(80, 2)

number = 3
"""
FEW = ("--what", "jacobian", "--what", "regions")


def _invoke(*arguments: str | int | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {
        "name": "small",
        "data": {"name": "digits", "train_size": 200, "noise": {"kind": "symmetric", "rate": 0.3}},
        "model": {"name": "mlp", "hidden": [8]},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "training": {"epochs": 2, "batch_size": 50, "device": "cpu", "snapshots": [0]},
    }
    return train(RunConfig.model_validate(config), tmp_path_factory.mktemp("runs") / "small", progress=False).path


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's own, which is where the command runs."""
    (tmp_path / "probed_by_tests.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", inputs=points, labels=(points.sum(1) > 0).astype(np.int64))
    return tmp_path


def test_a_run_is_probed_and_its_page_lies_beside_it(run: Path) -> None:
    result = _invoke("probe", run, *FEW, "--what", "sharpness", "--what", "initialisation", "--samples", 8)
    assert result.exit_code == 0, result.output
    assert "8 of 359 test samples" in result.stdout
    assert "8 of 200 training samples" in result.stdout
    assert "Around samples with wrong labels" in result.stdout
    assert "Training has moved the weights by" in result.stdout
    assert f"page written to {run / 'probe.html'}" in result.stdout.replace("\n", " ")
    assert (run / "probe.html").is_file()


def test_a_probed_run_cites_the_probes_beside_what_it_was_trained_with(run: Path) -> None:
    _invoke("probe", run, *FEW)
    cited = _invoke("cite", run).stdout
    assert "Are All Linear Regions Created Equal?" in cited
    assert "On Calibration of Modern Neural Networks" in cited
    assert len(set(cited.splitlines())) == len(cited.splitlines())


def test_json_holds_everything_and_writes_no_page_unasked(mine: Path) -> None:
    model = ("probe", "probed_by_tests:make", "--data", "probed_by_tests:data", *FEW, "--samples", 5)
    result = _invoke(*model, "--json", "--seed", 3)
    record = json.loads(result.stdout)
    assert [probe["name"] for probe in record["probes"]] == ["jacobian", "regions"]
    assert record["seed"] == 3
    assert record["probes"][0]["available"] == 80  # the second of the pair, all of it
    assert len(record["probes"][0]["records"]["input_jacobian_norm"]["spectral"]) == 5
    assert record["source"] == {"model": "probed_by_tests:make", "data": "probed_by_tests:data"}
    assert not Path("probe.html").exists()
    assert _invoke(*model, "--json", "--out", "page.html").exit_code == 0
    assert Path("page.html").is_file()


def test_a_model_that_bends_everywhere_says_so(mine: Path) -> None:
    result = _invoke("probe", "probed_by_tests:smooth", "--inputs", "points.npz", "--what", "regions", "--samples", 5)
    assert result.exit_code == 0, result.output
    assert "no linear pieces that could be counted" in result.stdout
    assert Path("probe.html").is_file()


def test_the_probes_are_listed_with_their_questions(mine: Path) -> None:
    for arguments in (["probe"], ["probe", "--list"]):
        result = _invoke(*arguments)
        assert result.exit_code == 0
        said = " ".join(result.stdout.split())
        assert all(name in said and entry.question in said for name, entry in PROBES.items())
    rows = json.loads(_invoke("probe", "--list", "--json").stdout)
    assert [row["name"] for row in rows] == list(PROBES)
    assert rows[0]["methods"] == ["input_jacobian_norm"]


def test_where_nothing_could_be_measured_the_status_is_1(mine: Path) -> None:
    result = _invoke("probe", "probed_by_tests:make", "--inputs", "points.npz", "--what", "arrangement")
    assert result.exit_code == 1
    assert "left out Direction of filters: the model has no convolution" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "nowhere"], "there is no run folder nowhere"),
        (["probe", "probed_by_tests:make"], "give one of --data"),
        (["probe", "probed_by_tests:number", "--inputs", "points.npz"], "must give a torch.nn.Module, got int"),
        (["probe", "probed_by_tests:make", "--inputs", "points.npz", "--what", "regons"], "did you mean 'regions'"),
        (["probe", "probed_by_tests:make", "--inputs", "points.npz", "--split", "train"], "it has test"),
        (["probe", "probed_by_tests:make", "--inputs", "points.npz", "--minutes", "0"], "minutes must be above 0"),
        (["audit", "probed_by_tests:make"], "give one of --data"),
        (["audit", "points.npz", "--minutes", "1"], "a model of your own is named"),
        (["audit", "points.npz", "probed_by_tests:make", "--inputs", "points.npz"], "a model is audited alone"),
        (["audit", "probed_by_tests:make", "--inputs", "points.npz", "--outside", "points.npz"], "without --outside"),
        (["audit", "probed_by_tests:make", "--inputs", "points.npz", "--minutes", "-1"], "minutes must be above 0"),
        (["audit", "probed_by_tests:make", "--inputs", "points.npz", "--split", "train"], "it has test"),
    ],
)
def test_bad_input_ends_with_2_and_the_fix(arguments: list[str], words: str, mine: Path) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("probe.html").exists()
    assert not Path("audit.html").exists()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few cheap probes in place of all, so that the limit in time is far away."""
    names = ("jacobian", "regions", "arrangement")
    monkeypatch.setattr("trueline.auditing._audit_model.PROBES", {name: PROBES[name] for name in names})
    sections = {name: EXPLANATIONS[name] for name in ("maps", "counterfactuals")}
    monkeypatch.setattr("trueline.auditing._audit_model.EXPLANATIONS", sections)


@pytest.mark.usefixtures("few")
def test_an_audit_of_a_model_has_calibration_and_geometry(mine: Path) -> None:
    model = ("audit", "probed_by_tests:make", "--inputs", "points.npz")
    result = _invoke(*model, "--name", "net", "--out", "both.html")
    assert result.exit_code == 0, result.output
    assert "Calibration error (ECE)" in result.stdout
    assert "Linear pieces" in result.stdout
    assert "left out Direction of filters" in result.stdout
    page = Path("both.html").read_text()
    assert 'id="geometry"' in page
    assert 'id="probe-jacobian"' in page
    record = json.loads(_invoke(*model, "--json").stdout)
    assert record["geometry"]["minutes"] == 5
    assert {"verdict", "scores", "failures", "geometry"} <= set(record)
    assert _invoke(*model, "--json", "--fail-if", "accuracy < 101%").exit_code == 1


@pytest.mark.usefixtures("few")
def test_an_audit_of_a_run_runs_its_model_only_where_it_is_given_time(run: Path) -> None:
    plain = json.loads(_invoke("audit", run, "--json").stdout)
    both = json.loads(_invoke("audit", run, "--minutes", "9", "--json").stdout)
    geometry, explanations = both.pop("geometry"), both.pop("explanations")
    assert both == plain
    assert not {"geometry", "explanations"} & set(plain)
    assert all(section["measured"] for section in explanations["probes"])
    assert [probe["measured"] for probe in geometry["probes"]] == [True, True, False]
    assert geometry["minutes"] == 9
