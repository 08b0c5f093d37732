"""``trueline steer`` as a user meets it."""

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.cli._steer import _default_folder
from trueline.train import RunConfig, RunFolder, train

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
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 8), nn.Linear(8, 2)
    def forward(self, x):
        return self.second(self.first(x).relu())

def make():
    torch.manual_seed(0)
    return Net()

def linear():
    return nn.Linear(2, 2)

def data():
    return Points(60, 1), Points(80, 2)

number = 3
"""


def _invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["steer", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {
        "name": "small",
        "data": {"name": "digits", "train_size": 200},
        "model": {"name": "mlp", "hidden": [16]},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "training": {"epochs": 2, "batch_size": 50, "device": "cpu"},
    }
    return train(RunConfig.model_validate(config), tmp_path_factory.mktemp("runs") / "small", progress=False).path


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's own, which is where the command runs."""
    (tmp_path / "steered_by_tests.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", inputs=points, labels=(points.sum(1) > 0).astype(np.int64))
    return tmp_path


def test_a_run_is_steered_and_audited_beside_the_original(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "steered"
    result = _invoke(run, "--metric", "log_loss", "--samples", 5, "--out", out)
    assert result.exit_code == 0, result.output
    assert "test samples" in result.stdout
    assert "Normalised curvature" in result.stdout
    assert f"steered run written to {out}; open {out / 'steering.html'}" in result.stdout.replace("\n", " ")
    record = json.loads((out / "steering.json").read_text())
    assert len(record["curve"]) == 31
    assert record["options"]["metric"] == "log_loss"
    audited = CliRunner().invoke(app, ["audit", str(run), str(out), "--out", str(tmp_path / "audit.html"), "--json"])
    assert audited.exit_code == 0, audited.output
    rows = json.loads(audited.stdout)["differences"]
    change = next(row for row in rows if row["measure"] == "log_loss")
    assert change["value"] == pytest.approx(record["test"]["difference"]["log_loss"]["value"], abs=1e-5)
    assert CliRunner().invoke(app, ["audit", str(out), "--json"]).exit_code == 0
    cited, of_run = (CliRunner().invoke(app, ["cite", str(folder)]).stdout for folder in (out, run))
    assert "2502.07783" in cited
    assert set(of_run.splitlines()) <= set(cited.splitlines())


def test_json_is_the_record_and_nothing_else(mine: Path) -> None:
    result = _invoke("steered_by_tests:make", "--data", "steered_by_tests:data", "--beta", 0.8, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record == json.loads(Path("make-steered/steering.json").read_text())
    assert record["beta"] == 0.8
    assert record["chosen_on"]["samples"] == record["test"]["samples"] == 40  # halves of the second of the pair
    assert record["source"] == {"model": "steered_by_tests:make", "data": "steered_by_tests:data", "half_seed": 0}
    assert any("cut into halves of 40 and 40 with seed 0" in note for note in record["notes"])
    assert any("Robust accuracy is left out" in note for note in record["notes"])
    assert "2502.07783" in CliRunner().invoke(app, ["cite", "make-steered", "--bibtex"]).stdout
    assert RunFolder(Path("make-steered")).environment()["class_names"] == ["low", "high"]


def test_a_model_of_ones_own_with_arrays_every_option_given(mine: Path) -> None:
    options = ["--granularity", "callsite", "--radius", "3/10", "--mix", "mean_preserving", "--scale", "rms"]
    options += ["--samples", 10, "--seed", 4, "--inputs", "points.npz", "--out", "out", "--json"]
    result = _invoke("steered_by_tests:make", "--beta", ":relu=0.5", *options)
    assert result.exit_code == 2
    assert "unknown group ':relu'; did you mean ':relu#0'" in result.stderr
    result = _invoke("steered_by_tests:make", "--beta", ":relu#0=0.5", *options)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["beta"] == {":relu#0": 0.5}
    asked = {"mix": "mean_preserving", "scale": "rms", "radius": 0.3, "samples": 10, "seed": 4}
    assert record["options"].items() >= {**asked, "granularity": "callsite"}.items()
    assert "robust_accuracy" in record["test"]["difference"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is no run folder nowhere"),
        (["."], "holds no finished run"),
        (["steered_by_tests:make"], "give one of --data"),
        (["steered_by_tests:nothing", "--inputs", "points.npz"], "has no 'nothing'"),
        (["no_such_module:make", "--inputs", "points.npz"], "is its folder on PYTHONPATH"),
        (["steered_by_tests:number", "--inputs", "points.npz"], "must give a torch.nn.Module, got int"),
        (["steered_by_tests:linear", "--inputs", "points.npz"], "nothing in Linear can be steered"),
        (["steered_by_tests:make", "--inputs", "none.npz"], "there is no file none.npz"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--beta", "1.2"], "lie in [0, 1], got 1.2"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--beta", "sharp"], "'search', a number in [0, 1]"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--radius", "8/0"], "a number such as 0.1 or 8/255"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--mix", "half"], "a number or 'mean_preserving'"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--metric", "robust_accuracy"], "are no images in [0, 1]"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--granularity", "stage"], "name the values"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--granularity", "stag"], "did you mean 'stage'"),
        (["steered_by_tests:make", "--inputs", "points.npz", "--batch-norm", "train"], "'keep' or 'recalibrate'"),
    ],
)
def test_bad_input_ends_with_2_and_the_fix(arguments: list[str], words: str, mine: Path) -> None:
    before = set(mine.iterdir())
    result = _invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert {path for path in mine.iterdir() if path.name != "__pycache__"} == before


def test_a_run_with_data_beside_it_is_refused(run: Path) -> None:
    result = _invoke(run, "--data", "a:b")
    assert result.exit_code == 2
    assert "brings its own data" in result.stderr


def test_the_default_folder_lies_beside_the_run_or_here(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _default_folder(str(run)).resolve() == run.resolve().parent / "small-steered"
    assert _default_folder("package.module:factory") == Path("factory-steered")
    monkeypatch.chdir(run)
    assert _default_folder(".") == Path("../small-steered")
    assert _default_folder(".").resolve() == run.resolve().parent / "small-steered"
