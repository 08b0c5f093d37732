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


def test_a_file_becomes_a_map_and_a_page(saved: Path) -> None:
    result = _invoke("calibrate", saved)
    assert result.exit_code == 0, result.output
    assert "chosen by cross-validated log loss" in result.stdout
    assert "Calibration error (ECE)" in result.stdout
    assert "Scores on held-out samples, 5 folds" in result.stdout
    assert "map written to calibrator.safetensors, page to calibration.html" in result.stdout
    assert "<html" in Path("calibration.html").read_text()[:500]
    assert trueline.load("calibrator.safetensors").num_classes_ == 3


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
    assert Path("kept/sets").is_file()
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
    ],
)
def test_mistakes_end_in_one_line(saved: Path, arguments: tuple[str, ...], message: str) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("calibrator.safetensors").exists()
