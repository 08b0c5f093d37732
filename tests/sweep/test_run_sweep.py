"""A sweep as a whole: its results and its failures."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from trueline.measure import mean_scores
from trueline.sweep import Sweep, SweepProgress, _work, plan_sweep, read_sweep, run_sweep, sweep_scores
from trueline.train import RunConfig, RunFolder, score_run, train, with_values
from trueline.train._session import Session

from .conftest import assert_same_runs


def rate_of_noise(run: RunFolder) -> dict[str, float]:
    labels = run.predictions("train")
    assert labels is not None
    return {"wrong": float((labels.labels != labels.true_labels).float().mean())}


def break_down(run: RunFolder) -> dict[str, float]:
    """Fail for one run of the grid, and take the process along for another."""
    if run.path.name == "model.hidden=4,seed=1":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.path.name == "model.hidden=8,seed=0":
        raise KeyError("too wide")
    return sweep_scores(run)


@pytest.fixture
def diverging(base: RunConfig) -> Sweep:
    return Sweep(base, ({"optimizer.learning_rate": [0.1, 1e30, 0.2]},))


def test_every_run_is_the_one_that_train_makes(sweep: Sweep, tmp_path: Path) -> None:
    rows = run_sweep(sweep, tmp_path / "sweep")
    assert [row["state"] for row in rows] == ["finished"] * 4
    for cell, row in zip(sweep.cells(), rows, strict=True):
        alone = train(cell.config, tmp_path / cell.name, progress=False)
        swept = RunFolder(tmp_path / "sweep" / row["run"])
        assert (alone.path / "predictions.safetensors").read_bytes() == (
            swept.path / "predictions.safetensors"
        ).read_bytes()
        assert row == {
            "run": cell.name,
            "state": "finished",
            "model.hidden": cell.values["model.hidden"],
            "seed": cell.values["seed"],
            **sweep_scores(alone),
            "error": None,
        }


def test_scores_tell_the_fit_of_the_given_labels(sweep: Sweep, tmp_path: Path) -> None:
    run = train(sweep.base, tmp_path, progress=False)
    train_split = run.predictions("train")
    assert train_split is not None
    given = mean_scores(train_split.labels, logits=train_split.logits)
    assert sweep_scores(run) == score_run(run) | {
        "train_accuracy": given["accuracy"],
        "train_log_loss": given["log_loss"],
    }


def test_results_are_read_back_as_rows_and_as_a_table(sweep: Sweep, tmp_path: Path) -> None:
    rows = run_sweep(sweep, tmp_path)
    assert read_sweep(tmp_path) == rows
    with open(tmp_path / "sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(rows[0])
    assert [json.loads(line["model.hidden"]) for line in table] == [[4], [4], [8], [8]]
    assert [float(line["accuracy"]) for line in table] == [row["accuracy"] for row in rows]
    assert Sweep.from_file(tmp_path / "sweep.toml").cells() == sweep.cells()


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*sweep.json; give the folder"):
        read_sweep(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(ValueError, match=r"sweep.json is damaged"):
            read_sweep(tmp_path)


def test_finished_runs_are_read_and_more_values_add_runs(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_sweep(sweep, tmp_path)
    trained = []
    monkeypatch.setattr(Session, "begin_step", lambda session, step: trained.append(session.config.name))
    assert run_sweep(sweep, tmp_path) == before
    assert trained == []
    more = replace(sweep, axes=({"model.hidden": [[4], [8]]}, {"seed": [0, 1, 2]}))
    assert sorted(plan_sweep(more, tmp_path).values()) == ["finished"] * 4 + ["new"] * 2
    rows = run_sweep(more, tmp_path)
    assert {name.split("seed=")[1] for name in trained} == {"2"}
    assert [row for row in rows if row["seed"] != 2] == before


def test_nothing_runs_before_everything_is_checked(base: RunConfig, tmp_path: Path) -> None:
    wrong = Sweep(base, ({"seed": [0, 1]}, {"training.epochs": [1, -1]}))
    with pytest.raises(ValueError, match=r"seed=0,training.epochs=-1: \[training\] epochs"):
        run_sweep(wrong, tmp_path)
    with pytest.raises(ValueError, match="at least 1 job, got 0"):
        run_sweep(Sweep(base, ({"seed": [0]},)), tmp_path, jobs=0)
    assert list(tmp_path.iterdir()) == []


def test_runs_of_another_base_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    run_sweep(sweep, tmp_path)
    other = replace(sweep, base=with_values(sweep.base, {"training.epochs": 3}))
    with pytest.raises(ValueError, match=r"hidden=4,seed=0/config.toml belongs to .*training.epochs = 3 \(was 2\)"):
        run_sweep(other, tmp_path)


def test_a_failed_run_leaves_the_others_and_is_tried_again(diverging: Sweep, tmp_path: Path) -> None:
    rows = run_sweep(diverging, tmp_path)
    assert [row["state"] for row in rows] == ["finished", "failed", "finished"]
    assert rows[1]["error"].startswith("NonFiniteLossError: ")
    assert "accuracy" not in rows[1]
    failure = tmp_path / rows[1]["run"] / "failure.txt"
    assert "Traceback" in failure.read_text()
    assert plan_sweep(diverging, tmp_path)[rows[1]["run"]] == "failed"
    assert read_sweep(tmp_path) == rows
    failure.write_text("an old failure")
    assert run_sweep(diverging, tmp_path)[1]["state"] == "failed"
    assert "an old failure" not in failure.read_text()


def test_a_failure_that_has_gone_leaves_no_trace(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_work, "train", _run_out_of_disk)
        assert {row["error"] for row in run_sweep(sweep, tmp_path)} == {"OSError: no space left"}
    assert {row["state"] for row in run_sweep(sweep, tmp_path)} == {"finished"}
    assert list(tmp_path.rglob("failure.txt")) == []


def _run_out_of_disk(*_: object, **__: object) -> RunFolder:
    raise OSError("no space left")


def test_scores_of_ones_own_are_measured_where_the_run_is(sweep: Sweep, tmp_path: Path) -> None:
    rows = run_sweep(sweep, tmp_path, score=rate_of_noise)
    assert [row["wrong"] for row in rows] == pytest.approx([0.2] * 4, abs=0.01)
    assert "accuracy" not in rows[0]


@pytest.mark.parametrize("name", ["seed", "state", "run"])
def test_a_score_cannot_take_the_place_of_another_column(sweep: Sweep, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"a score cannot be called '{name}'"):
        run_sweep(sweep, tmp_path, score=lambda run: {name: 1.0})


def test_a_score_that_is_not_finite_fails_its_run(sweep: Sweep, tmp_path: Path) -> None:
    rows = run_sweep(sweep, tmp_path, score=lambda run: {"width": float("nan")})
    assert {row["error"] for row in rows} == {"ValueError: the score 'width' must be finite, got nan"}


def test_progress_counts_runs_and_epochs(diverging: Sweep, tmp_path: Path) -> None:
    told: list[SweepProgress] = []
    run_sweep(diverging, tmp_path, progress=told.append)
    assert (told[0].runs, told[0].epochs, told[0].epochs_done, told[0].ended) == (3, 6, 0, None)
    ends = [state for state in told if state.ended is not None]
    assert [(state.finished, state.failed, state.epochs_done) for state in ends] == [(1, 0, 2), (1, 1, 4), (2, 1, 6)]
    assert [state.error is None for state in ends] == [True, False, True]
    told.clear()
    run_sweep(diverging, tmp_path, progress=told.append)
    assert told[0].epochs_done == 4


def test_several_processes_give_the_same_bits_whatever_happens_to_one(sweep: Sweep, tmp_path: Path) -> None:
    expected = run_sweep(sweep, tmp_path / "one")
    rows = run_sweep(sweep, tmp_path / "two", score=break_down, jobs=2)
    assert [row["error"] for row in rows] == [
        None,
        "the process of this run was ended by SIGKILL",
        "KeyError: 'too wide'",
        None,
    ]
    assert (rows[0], rows[3]) == (expected[0], expected[3])
    for row in rows[1:3]:
        assert row["error"] in (tmp_path / "two" / row["run"] / "failure.txt").read_text()
    # What broke down was the scoring; the runs are there.
    assert run_sweep(sweep, tmp_path / "two") == expected
    assert_same_runs(tmp_path / "one", tmp_path / "two", sweep)
