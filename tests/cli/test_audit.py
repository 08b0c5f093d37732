"""``trueline audit`` as a user, a script and a gate meet it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trueline.cli import app
from trueline.cli._progress import counting


def _invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["audit", *(str(argument) for argument in arguments)])


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Over-confident predictions of three classes."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    logits = 2 * generator.standard_normal((300, 3))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (chance.cumsum(1) < generator.random((300, 1))).sum(1)
    np.savez(tmp_path / "model.npz", logits=2 * logits, labels=labels, groups=labels % 2)
    np.savez(tmp_path / "other.npz", logits=logits, labels=labels)
    np.savez(tmp_path / "elsewhere.npz", logits=0.1 * logits)
    return tmp_path / "model.npz"


def test_a_file_becomes_a_verdict_a_table_and_a_page(saved: Path) -> None:
    result = _invoke(saved)
    assert result.exit_code == 0, result.output
    assert "Over-confident by" in result.stdout
    assert "Calibration error (ECE)" in result.stdout
    assert "page written to audit.html" in result.stdout
    assert "<html" in Path("audit.html").read_text()[:500]
    assert result.stderr == ""


def test_json_holds_every_table_and_writes_no_page_unasked(saved: Path) -> None:
    result = _invoke(saved, "--json", "--fail-if", "ece > 0.9")
    record = json.loads(result.stdout)
    assert {"verdict", "scores", "classes", "groups", "failures"} <= set(record)
    assert record["failures"] == []
    assert not Path("audit.html").exists()
    assert _invoke(saved, "--json", "--out", "page.html").exit_code == 0
    assert Path("page.html").exists()


def test_the_gate_ends_with_1_and_says_why(saved: Path) -> None:
    result = _invoke(saved, "--fail-if", "ece > 0.01", "--fail-if", "groups.accuracy < 1%")
    assert result.exit_code == 1
    assert "failed: model: ece is" in result.stderr
    assert "groups" not in result.stderr
    assert Path("audit.html").exists()  # the page says what is wrong
    assert json.loads(_invoke(saved, "--json", "--fail-if", "ece > 0.01").stdout)["failures"]


def test_several_models_and_an_outside_set(saved: Path) -> None:
    result = _invoke(saved, "other.npz", "--name", "A", "--name", "B", "--title", "Two models")
    assert result.exit_code == 0, result.output
    assert "B and A show no difference beyond noise" in result.stdout
    assert "Two models" in Path("audit.html").read_text()
    assert json.loads(_invoke(saved, "--outside", "elsewhere.npz", "--json").stdout)["detection"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.npz"], "no such file"),
        (["model.npz", "--fail-if", "ecee > 1"], "did you mean 'ece'"),
        (["model.npz", "--fail-if", "accuracy"], "expected a condition"),
        (["model.npz", "--split", "test"], "test"),
        (["model.npz", "model.npz"], "different names"),
        (["model.npz", "--name", "a", "--name", "b"], "2 names for 1"),
        (["model.npz", "--outside", "model.npz", "--outside", "model.npz"], "one outside set"),
        (["text.txt"], ".npz"),
        (["one_based.npz"], "start at 1"),
        (["disguised.npz"], "pass logits=|logits"),
        (["holed.npz"], "row 3 holds nan"),
        (["empty.npz"], "no samples"),
        (["."], "no run"),
    ],
)
def test_bad_input_ends_with_2_and_the_fix(arguments: list[str], words: str, saved: Path) -> None:
    with np.load(saved) as arrays:
        logits, labels = arrays["logits"], arrays["labels"]
    holed = logits.copy()
    holed[3, 1] = np.nan
    Path("text.txt").write_text("0.5 0.5")
    np.savez("one_based.npz", logits=logits, labels=labels + 1)
    np.savez("disguised.npz", probs=logits, labels=labels)
    np.savez("holed.npz", logits=holed, labels=labels)
    np.savez("empty.npz", logits=logits[:0], labels=labels[:0])
    result = _invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert any(word in result.stderr for word in words.split("|")), result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("audit.html").exists()


def test_a_page_that_cannot_be_written_ends_with_2(saved: Path) -> None:
    Path("taken").write_text("")
    result = _invoke(saved, "--out", "taken/audit.html")
    assert result.exit_code == 2
    assert "taken" in result.stderr


def test_the_shell_completes_verbs_and_measures() -> None:
    program = Path(sys.executable).with_name("trueline")

    def completed(words: str) -> list[str]:
        environment = {
            "_TRUELINE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        run = subprocess.run([program], env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return run.stdout.split()

    assert "audit" in completed("trueline aud")
    assert set(completed("trueline audit --fail-if ece")) >= {"ece", "ece_classwise", "ece_rms"}


def test_long_work_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 15.0])
    monkeypatch.setattr("trueline.cli._progress.time.monotonic", lambda: next(clock))
    with counting("reading", "samples") as progress:
        for done in (10, 20, 30, 40):
            progress(done, 80)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["reading: 20 of 80 samples, 7/s, 9 s left", "reading: 40 of 80 samples, 3/s, 15 s left"]


def test_the_bar_on_a_terminal_is_gone_when_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with counting("reading", "samples") as progress:
        progress(1, 2)
        progress(2, 2)
