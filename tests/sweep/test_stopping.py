"""Every way to stop a sweep, after which it goes on to the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from trueline.sweep import Sweep, SweepInterrupted, _in_process, _in_processes, plan_sweep, read_sweep, run_sweep
from trueline.sweep._work import Task
from trueline.train import Interrupted, RunConfig, RunFolder, score_run, with_values
from trueline.train._session import Session

from .conftest import assert_same_runs, small_run

EPOCHS = 150  # a second and a half, so that a signal finds a run under way


@pytest.fixture(scope="module")
def patient() -> Sweep:
    """Two runs that are long enough to be stopped on the way."""
    base = with_values(
        small_run(), {"training.epochs": EPOCHS, "training.snapshots": [0, 3], "training.evaluate_every": EPOCHS}
    )
    return Sweep(base, ({"seed": [0, 1]},))


@pytest.fixture(scope="module")
def whole(patient: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What they give when nobody stops them."""
    folder = tmp_path_factory.mktemp("whole")
    run_sweep(patient, folder)
    return folder


def test_a_stop_in_this_process_saves_and_says_how_to_go_on(
    patient: Sweep, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Session.begin_step

    def stop(session: Session, step: int) -> None:
        if step == 33 and session.config.seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        begin(session, step)

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Session, "begin_step", stop)
        with pytest.raises(
            SweepInterrupted, match=f"stopped by SIGTERM; .* go on with: trueline sweep {folder}"
        ) as info:
            run_sweep(patient, folder)
    assert info.value.exit_code == 143
    assert isinstance(info.value, Interrupted)
    assert [row["state"] for row in read_sweep(folder)] == ["finished", "waiting"]
    assert list(plan_sweep(patient, folder).values()) == ["finished", "started"]
    run_sweep(patient, folder)
    assert_same_runs(whole, folder, patient)


def test_ctrl_c_between_runs_stops_too(patient: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(task: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_in_process, "work", interrupt)
    with pytest.raises(SweepInterrupted) as info:
        run_sweep(patient, tmp_path)
    assert info.value.exit_code == 130


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_or_killed_sweep_goes_on_to_the_same_bits(
    patient: Sweep, whole: Path, signum: signal.Signals, tmp_path: Path
) -> None:
    folder, grid = tmp_path / "stopped", tmp_path / "grid.toml"
    grid.write_text(patient.dump())
    command = [sys.executable, "-m", "trueline", "sweep", str(grid), "--out", str(folder), "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)
    _wait_for_epochs(folder)
    workers = [each for each in psutil.Process(child.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    assert len(workers) == 2
    # Ctrl-C on a terminal reaches the whole group. A kill that leaves one worker alone makes it save and end.
    os.killpg(child.pid, signum)
    if signum == signal.SIGKILL:
        workers[0].kill()
    _, errors = child.communicate(timeout=60)
    assert child.returncode == (-9 if signum == signal.SIGKILL else 128 + signum), errors
    assert "Traceback" not in errors
    assert (f"go on with: trueline sweep {folder}" in errors) == (signum != signal.SIGKILL)
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert "started" in plan_sweep(patient, folder).values()
    run_sweep(patient, folder)
    assert_same_runs(whole, folder, patient)


def test_a_process_whose_run_ends_when_nobody_listens_keeps_it_and_ends_in_peace(
    base: RunConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = _in_processes._start(1)
    assert worker.connection.recv() is None
    worker.connection.send(Task("run", base, tmp_path, score_run))
    worker.connection.close()
    worker.process.join(60)
    assert worker.process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err
    assert RunFolder(tmp_path).is_finished()


def _wait_for_epochs(folder: Path) -> None:
    """Wait until two runs are under way and their first weights are kept."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/checkpoints/last.safetensors"))) < 2:
        assert time.monotonic() < deadline, "no run has begun"
        time.sleep(0.005)
