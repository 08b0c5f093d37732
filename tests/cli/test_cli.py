"""The verbs as a user meets them: what they print, where they write, how they fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.cli._methods import all_methods

CONFIG = """
name = "small"
[data]
name = "digits"
train_size = 200
[model]
name = "mlp"
hidden = [16]
[objective]
name = "dps"
[optimizer]
name = "adamw"
learning_rate = 0.003
[training]
epochs = 2
batch_size = 50
"""


def _invoke(*arguments: str | Path):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def test_a_run_is_trained_reported_and_cited(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = _invoke("train", config, "--out", run, "--set", "training.epochs=1", "--json")
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout.strip().splitlines()[-1])["epoch"] == 1
    reported = _invoke("report", run)
    assert reported.exit_code == 0, reported.output
    assert "<html" in (run / "report.html").read_text()[:500]
    cited = _invoke("cite", run)
    assert "2512.24162" in cited.stdout
    assert "1706.04599" in cited.stdout
    assert "@misc{" in _invoke("cite", run, "--bibtex").stdout


def test_a_mistyped_key_ends_with_2_and_names_the_nearest(config: Path, tmp_path: Path) -> None:
    result = _invoke("train", config, "--out", tmp_path / "run", "--set", "training.epoch=1")
    assert result.exit_code == 2
    assert "epochs" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_run_ends_with_2(tmp_path: Path) -> None:
    for verb in ("report", "cite"):
        result = _invoke(verb, tmp_path)
        assert result.exit_code == 2
        assert "trueline train" in result.stderr


def test_a_loss_that_is_not_finite_ends_with_1(config: Path, tmp_path: Path) -> None:
    result = _invoke(
        "train",
        config,
        "--out",
        tmp_path / "run",
        "--set",
        "optimizer.learning_rate=1e30",
        "--set",
        "optimizer.name=sgd",
    )
    assert result.exit_code == 1
    assert "step" in result.stderr


def test_methods_lists_every_group_with_its_source() -> None:
    facts = {(method.group, method.name) for method in all_methods()}
    assert {("supervise", "DPS"), ("calibrate", "TemperatureScaling"), ("measure", "brier"), ("models", "MLP")} <= facts
    listed = json.loads(_invoke("methods", "--group", "supervise", "--json").stdout)
    assert {row["group"] for row in listed} == {"supervise"}
    assert all(row["references"] and row["cost"] for row in listed)
    assert "DPS" in _invoke("methods").stdout


def test_an_unknown_group_ends_with_2() -> None:
    result = _invoke("methods", "--group", "supervision")
    assert result.exit_code == 2
    assert "supervise" in result.stderr


def test_reproduce_lists_recipes_and_runs_one(tmp_path: Path) -> None:
    assert "dps-noise-digits" in _invoke("reproduce").stdout
    result = _invoke("reproduce", "dps-warmup", "--out", tmp_path, "--seeds", "2", "--set", "training.epochs=1")
    assert result.exit_code == 0, result.output
    assert "verdict" in result.stdout
    assert (tmp_path / "results.json").exists()


def test_the_program_is_installed_and_prints_its_version() -> None:
    program = Path(sys.executable).with_name("trueline")
    output = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert output.startswith("trueline ")


def test_help_waits_for_nothing_heavy() -> None:
    program = "import sys; from trueline.cli import app; print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "False"
