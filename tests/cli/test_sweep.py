"""``trueline sweep`` as a user meets it: what it prints, where it writes, how it fails."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from trueline.cli import _sweep, app
from trueline.sweep import SweepProgress, read_sweep

from .test_cli import CONFIG

# Without a calibration split: so short a run has nothing to calibrate, and would say so.
GRID = (
    CONFIG.replace("epochs = 2", "epochs = 1").replace("train_size", "calibration = 0.0\ntrain_size")
    + '[grid]\n"model.hidden" = [[4], [8]]\nseed = [0, 1]\n'
)


def _invoke(*arguments: str | Path):
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def test_a_grid_is_planned_run_and_gone_on_with(grid: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    planned = _invoke(grid, "--out", folder, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "new      model.hidden=4,seed=0" in planned.stdout
    assert "4 runs: 4 new" in planned.stdout
    assert not folder.exists()
    done = _invoke(grid, "--out", folder)
    assert done.exit_code == 0, done.output
    assert "4 of 4 runs are finished, their scores are in" in done.stdout
    assert "1 of 4 runs finished" in done.stderr
    assert "finished: model.hidden=8,seed=1" in done.stderr
    assert json.loads(_invoke(folder, "--dry-run", "--json").stdout) == dict.fromkeys(
        (row["run"] for row in read_sweep(folder)), "finished"
    )
    again = _invoke(folder, "--json")
    assert json.loads(again.stdout) == read_sweep(folder)


def test_the_folder_is_named_after_the_run(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _invoke(grid, "--set", "name=other", "--json").exit_code == 0
    assert len(read_sweep(tmp_path / "runs" / "other")) == 4


def test_a_failed_run_is_listed_and_ends_with_1(grid: Path, tmp_path: Path) -> None:
    grid.write_text(
        GRID.replace("seed = [0, 1]", '"optimizer.learning_rate" = [0.003, 1e30]')
        .replace("[4], [8]", "[4]")
        .replace("adamw", "sgd")
    )
    result = _invoke(grid, "--out", tmp_path / "out")
    assert result.exit_code == 1
    name = "model.hidden=4,optimizer.learning_rate=1e+30"
    assert f"failed: {name}: NonFiniteLossError: " in result.stderr
    assert str(tmp_path / "out" / name / "failure.txt") in result.stderr
    assert f"1 of 2 runs are finished, their scores are in {tmp_path / 'out' / 'sweep.csv'}; " in result.stdout
    assert f"`trueline sweep {tmp_path / 'out'}` tries the failed ones again" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"model.hidden"', '"model.hiden"', "did you mean 'hidden'?"),
        ("[grid]", "[gird]", "has no [grid]"),
        ("seed = [0, 1]", "seed = [0, -1]", "model.hidden=4,seed=-1: [configuration] "),
    ],
)
def test_a_grid_that_is_not_valid_ends_with_2(grid: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    grid.write_text(GRID.replace(old, new))
    for arguments in ((), ("--dry-run",)):
        result = _invoke(grid, "--out", tmp_path / "out", *arguments)
        assert result.exit_code == 2
        assert message.replace("[configuration] ", "seed: ") in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_address_without_ray_names_the_extra(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = _invoke(grid, "--out", tmp_path / "out", "--address", "auto")
    assert result.exit_code == 2
    assert "pip install 'trueline[sweep]'" in result.stderr


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_sweep, "time", clock)
    return clock


def _state(epochs_done: int, finished: int = 0, failed: int = 0, **end: str | None) -> SweepProgress:
    return SweepProgress(runs=4, finished=finished, failed=failed, epochs=100, epochs_done=epochs_done, **end)


def test_time_left_counts_only_what_this_call_did(clock: Clock) -> None:
    pace = _sweep._Pace()
    assert pace(_state(40)) == "time left unknown"
    clock.now = 10.0
    assert pace(_state(60)) == "2 epochs/s, 0:00:20 left"
    clock.now = 3610.0
    assert pace(_state(99)) == "0.016 epochs/s, 0:01:01 left"


def test_lines_come_with_each_end_and_otherwise_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _sweep._Lines()
    lines(_state(0))
    clock.now = 9.0
    lines(_state(5))
    lines(_state(25, finished=1, ended="seed=0"))
    clock.now = 19.5
    lines(_state(30, finished=1))
    lines(_state(50, finished=1, failed=1, ended="seed=1", error="OSError: full"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith("1 of 4 runs finished, 2.8 epochs/s, 0:00:27 left, finished: seed=0")
    assert said[1].startswith("1 of 4 runs finished, 1.5 epochs/s")
    assert said[2].endswith(", failed: seed=1: OSError: full")


def test_a_terminal_shows_one_bar_and_the_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    with _sweep._shown() as show:
        show(_state(0))
        show(_state(50, finished=1, failed=1, ended="seed=1", error="OSError: [full]"))
    shown = console.export_text()
    assert "failed: seed=1: OSError: [full]" in shown
