"""The examples run as a newcomer would run them, and say something true."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trueline.train import RunFolder, load_config, with_overrides

EXAMPLES = Path(__file__).parents[1] / "examples"


def _run(name: str, folder: Path) -> str:
    """Run a copy of one example in an empty folder and return what it prints."""
    shutil.copy(EXAMPLES / name, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in {text!r}"
    return float(found[1])


def _lines_of_code(source: str) -> int:
    docstring = ast.parse(source).body[0]
    assert docstring.end_lineno is not None
    rest = source.splitlines()[docstring.end_lineno :]
    return sum(1 for line in rest if line.strip() and not line.strip().startswith("#"))


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {
        "calibrate_saved_predictions.py",
        "dps_in_a_plain_loop.py",
        "train.toml",
        "your_own_dataset.py",
    }


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_has_a_docstring_and_does_nothing_when_imported(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    main()"
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    assert all(isinstance(node, allowed) for node in tree.body[1:-1])


def test_dps_beats_cross_entropy_in_a_plain_loop_of_twenty_lines(tmp_path: Path) -> None:
    printed = _run("dps_in_a_plain_loop.py", tmp_path)
    usual, ours = (_number(rf"{name}: ([\d.]+)%", printed) for name in ("CrossEntropy", "DPS"))
    assert ours > usual + 5
    source = (EXAMPLES / "dps_in_a_plain_loop.py").read_text(encoding="utf-8")
    assert _lines_of_code(source) <= 20
    assert re.findall(r"# (\d): ", source) == ["1", "2", "3"]


def test_the_known_temperature_is_recovered_and_the_error_falls(tmp_path: Path) -> None:
    printed = _run("calibrate_saved_predictions.py", tmp_path)
    temperature = _number(r"temperature ([\d.]+)", printed)
    assert temperature == pytest.approx(_number(r"made with ([\d.]+)", printed), rel=0.03)
    before, after = (_number(rf"{when}: .*calibration error ([\d.]+)", printed) for when in ("before", "after"))
    assert after < 0.02 < 0.1 < before
    accuracies = re.findall(r"accuracy ([\d.]+),", printed)
    assert len(accuracies) == 2
    assert accuracies[0] == accuracies[1]
    bins = re.findall(r"^ +[\d.]+ +[\d.]+ +[\d.]+ to [\d.]+ +(\d+)$", printed, flags=re.MULTILINE)
    assert sum(int(count) for count in bins) == 10_000


def test_a_data_set_of_ones_own_trains_and_is_reported(tmp_path: Path) -> None:
    printed = _run("your_own_dataset.py", tmp_path)
    assert _number(r"test accuracy ([\d.]+)%", printed) > 85  # three overlapping rings allow about 94
    report = tmp_path / "runs" / "rings" / "report.html"
    assert f"report: {report.relative_to(tmp_path)}" in printed
    assert report.stat().st_size > 100_000
    environment = RunFolder(report.parent).environment()
    assert environment["class_names"] == ["inner", "middle", "outer"]


def test_the_configuration_is_valid_and_trains(tmp_path: Path) -> None:
    from trueline.train import train

    config = load_config(EXAMPLES / "train.toml")
    assert config.objective.name == "dps"
    run = train(with_overrides(config, ["training.epochs=3"]), tmp_path / "run", progress=False)
    train_split = run.predictions("train")
    assert train_split is not None
    wrong = (train_split.labels != train_split.true_labels).double().mean().item()
    assert wrong == pytest.approx(0.4, abs=1e-3)
    assert {"last.safetensors", "best.safetensors"} == {path.name for path in (run.path / "checkpoints").iterdir()}
