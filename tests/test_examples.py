"""The examples run as a newcomer would run them, and say something true."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trueline.train import RunFolder, load_config, with_overrides

EXAMPLES = Path(__file__).parents[1] / "examples"


def _run(name: str, folder: Path, *arguments: str) -> str:
    """Run a copy of one example in an empty folder and return what it prints."""
    shutil.copy(EXAMPLES / name, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, name, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
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
        "audit_arrays.py",
        "audit_cifar10.py",
        "calibrate_saved_predictions.py",
        "dps_in_a_plain_loop.py",
        "probe_your_own_model.py",
        "linear_regions.py",
        "steer_your_own_model.py",
        "train.toml",
        "training_samples_behind_a_prediction.py",
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


def test_two_classifiers_are_audited_side_by_side_from_arrays(tmp_path: Path) -> None:
    printed = _run("audit_arrays.py", tmp_path)
    temperature = _number(r"Random forest is under-confident by .* A temperature of ([\d.]+) repairs", printed)
    assert temperature < 0.5
    assert re.search(r"Its log loss is higher by 0\.\d+ nats", printed)
    page = tmp_path / "runs" / "audit-digits.html"
    assert f"page: {page.relative_to(tmp_path)}" in printed
    assert "data:image/png;base64," in page.read_text(encoding="utf-8")


def test_published_networks_are_audited_on_their_pictures(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUELINE_CACHE", str(tmp_path / "cache"))
    printed = _run("audit_cifar10.py", tmp_path, str(shared_data), "--samples", "300")
    assert re.search(r"^Over-confident by \d", printed, re.MULTILINE)
    for name in ("ResNet-20", "ResNet-56"):  # the gap of both is about five points
        assert re.search(rf"^{name} is over-confident by \d", printed, re.MULTILINE)
    folder = tmp_path / "runs" / "audit-cifar10"
    for name in ("resnet20", "resnet56"):
        with np.load(folder / f"{name}.npz") as saved:
            assert set(saved) == {"logits", "labels", "images", "class_names"}
            assert saved["images"].shape == (300, 32, 32, 3)
            assert saved["images"].dtype == np.uint8
            assert (saved["logits"].argmax(axis=1) == saved["labels"]).mean() > 0.88
    for name in ("resnet20", "both"):
        assert "data:image/png;base64," in (folder / f"{name}.html").read_text(encoding="utf-8")


def test_without_its_data_the_example_says_what_it_needs(tmp_path: Path) -> None:
    printed = _run("audit_cifar10.py", tmp_path, "nowhere")
    assert printed.startswith("This example needs nowhere/cifar10, which is not there.")
    assert {path.name for path in tmp_path.iterdir()} == {"audit_cifar10.py"}


def test_a_data_set_of_ones_own_trains_and_is_reported(tmp_path: Path) -> None:
    printed = _run("your_own_dataset.py", tmp_path)
    assert _number(r"test accuracy ([\d.]+)%", printed) > 85  # three overlapping rings allow about 94
    report = tmp_path / "runs" / "rings" / "report.html"
    assert f"report: {report.relative_to(tmp_path)}" in printed
    assert report.stat().st_size > 100_000
    environment = RunFolder(report.parent).environment()
    assert environment["class_names"] == ["inner", "middle", "outer"]


def test_a_model_that_calls_relu_in_every_way_is_steered(tmp_path: Path) -> None:
    printed = _run("steer_your_own_model.py", tmp_path)
    assert "5 activations executed (5 relu); 5 can be steered" in printed
    assert "at beta = 1 the twin's 1647 outputs are the model's own" in printed
    before, after = (_number(pattern, printed) for pattern in (r"log loss ([\d.]+) before", r"and ([\d.]+) after"))
    assert after < before
    page = tmp_path / "runs" / "stranger-steered" / "steering.html"
    assert f"page: {page.relative_to(tmp_path)}" in printed
    assert (page.parent / "predictions.safetensors").is_file()


def test_wrong_labels_bring_another_prediction_nearer(tmp_path: Path) -> None:
    printed = _run("probe_your_own_model.py", tmp_path)
    right, wrong = printed.split("wrong labels:\n")
    distances = [_number(r"every change shorter than ([\d.]+)", part) for part in (right, wrong)]
    assert distances[1] < 0.5 * distances[0]
    assert _number(r"sharper around wrong labels by [\d.]+ \(([\d.]+) to", wrong) > 0
    assert "sharper around wrong labels" not in right
    assert (tmp_path / "runs" / "probe.html").is_file()


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


def test_linear_regions_are_drawn(tmp_path: Path) -> None:
    printed = _run("linear_regions.py", tmp_path)
    assert _number(r"training accuracy ([\d.]+)%", printed) > 95
    assert _number(r"([\d,]+) linear regions", printed.replace(",", "")) > 100
    page = (tmp_path / "runs" / "linear-regions.html").read_text(encoding="utf-8")
    assert "vega" in page
    assert not re.search(r"(src|href)=.https?://", page)


def test_wrong_labels_are_the_strongest_opponents(tmp_path: Path) -> None:
    printed = _run("training_samples_behind_a_prediction.py", tmp_path)
    base = _number(r"([\d.]+)% of the training labels are wrong", printed)
    share = _number(r"but ([\d.]+)% of those", printed)
    assert share > 10 * base
    page = (tmp_path / "runs" / "training-samples.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
