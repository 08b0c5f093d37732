"""``trueline calibrate`` and ``trueline conform`` as a user and a script meet them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import trueline
from trueline.cli import app


def _invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Over-confident predictions of three classes, and others to fit to."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("model", "other"):
        logits = 2 * generator.standard_normal((300, 3))
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = (chance.cumsum(1) < generator.random((300, 1))).sum(1)
        np.savez(tmp_path / f"{name}.npz", logits=2 * logits, labels=labels, groups=labels % 2)
    return tmp_path / "model.npz"


@pytest.fixture
def odd(saved: Path) -> None:
    """Files that no map and no threshold can be fitted to."""
    arrays = dict(np.load(saved))
    np.savez("four.npz", **{**arrays, "logits": np.pad(arrays["logits"], ((0, 0), (0, 1)))})
    np.savez("five.npz", **{key: value[:5] for key, value in arrays.items()})
    np.savez("whole.npz", **{**arrays, "logits": arrays["logits"].astype(int)})
    np.savez("vast.npz", **{**arrays, "logits": 1e300 * arrays["logits"]})
    Path("text.txt").write_text("0.3 0.7 1")


def test_a_file_becomes_a_map_and_a_page(saved: Path) -> None:
    result = _invoke("calibrate", saved)
    assert result.exit_code == 0, result.output
    assert "chosen by cross-validated log loss" in result.stdout
    assert "Calibration error (ECE)" in result.stdout
    assert "Scores on held-out samples, 5 folds" in result.stdout
    assert "map written to calibrator.safetensors, page to calibration.html" in result.stdout
    assert "<html" in Path("calibration.html").read_text()[:500]
    assert trueline.load("calibrator.safetensors").num_classes_ == 3


@pytest.mark.parametrize("verb", ["calibrate", "conform"])
def test_two_classes_as_one_column_of_one_class_still_make_a_page_of_numbers(saved: Path, verb: str) -> None:
    arrays = np.load(saved)
    np.savez("one.npz", logits=arrays["logits"][:, :1].astype(np.float16), labels=np.zeros(300, int))
    options = ("--method", "temperature") if verb == "calibrate" else ()
    result = _invoke(verb, "one.npz", *options, "--page", "page.html")
    assert result.exit_code == 0, result.output
    assert " nan" not in result.stdout.lower()
    assert "NaN" not in Path("page.html").read_text().partition("<main")[2].partition("</main>")[0]


def test_a_named_map_is_fitted_to_held_out_predictions(saved: Path) -> None:
    result = _invoke("calibrate", saved, "--method", "temperature", "--held-out", "other.npz", "--json")
    record = json.loads(result.stdout)
    assert record["folds"] is None
    assert record["fitted"] == 300
    assert record["file"] == "calibrator.safetensors"
    assert not Path("calibration.html").exists()
    assert trueline.load("calibrator.safetensors").temperature_ == pytest.approx(2, rel=0.3)


def test_a_file_becomes_thresholds_and_a_page(saved: Path) -> None:
    result = _invoke("conform", saved, "--alpha", "0.2", "--method", "aps", "--conditional", "group")
    assert result.exit_code == 0, result.output
    assert "of the sets hold the label" in result.stdout
    assert "thresholds written to conformal.safetensors, page to conformal.html" in result.stdout
    assert "<html" in Path("conformal.html").read_text()[:500]
    assert trueline.load("conformal.safetensors").takes_groups


def test_json_of_sets_writes_no_page_unasked(saved: Path) -> None:
    result = _invoke("conform", saved, "--held-out", "other.npz", "--json", "--out", "kept/sets")
    record = json.loads(result.stdout)
    assert record["calibrated"] == 300
    assert 0.8 < record["report"]["coverage"]["value"] <= 1
    assert trueline.load("kept/sets").alpha == 0.1
    assert not list(Path().rglob("*.html"))
    assert _invoke("conform", saved, "--json", "--page", "page.html").exit_code == 0
    assert Path("page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("calibrate", "model.npz", "--method", "temprature"), "did you mean 'temperature'"),
        (("conform", "model.npz", "--alpha", "90"), "for 90 % coverage pass 0.1"),
        (("conform", "model.npz", "--method", "lca"), "unknown method 'lca'"),
        (("calibrate", "absent.npz"), "absent.npz"),
        (("calibrate", "text.txt"), "predictions are read from .npz"),
        (("conform", "."), "this folder is no run"),
        (("conform", "model.npz", "--alpha", "0"), "strictly between 0 and 1"),
        (("conform", "model.npz", "--alpha", "nan"), "strictly between 0 and 1"),
        (("calibrate", "model.npz", "--held-out", "four.npz"), "must have the same 3 classes, got 4"),
        (("calibrate", "five.npz"), "at least 30 samples, got 5"),
        (("conform", "five.npz"), "at least 20 samples"),
        (("calibrate", "whole.npz"), "logits must be float16, bfloat16, float32 or float64, got int64"),
        (("calibrate", "vast.npz"), "to mask a class -1e9 will do"),
        (("calibrate", "model.npz", "--method", "temperature", "--out", "text.txt/map"), "text.txt"),
        (("conform", "model.npz", "--out", "text.txt/sets"), "text.txt"),
    ],
)
def test_mistakes_end_in_one_line(saved: Path, odd: None, arguments: tuple[str, ...], message: str) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert not Path("calibrator.safetensors").exists()
