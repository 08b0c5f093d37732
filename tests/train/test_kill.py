"""Runs that are killed in the middle of whatever they are doing, again and again."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from trueline.train import RunConfig, RunFolder, train
from trueline.train._checkpoint import read_checkpoint
from trueline.train._session import Session

from .conftest import STEPS_PER_EPOCH, assert_same_result, change, leftovers

KILLS = 4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServerContext]:
    """A process with everything imported, whose children begin at once."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trueline.train", "sklearn.datasets"])
    yield context
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def test_a_run_killed_at_any_moment_is_readable_and_goes_on_to_the_same_bits(
    config: RunConfig, tmp_path: Path, server: ForkServerContext
) -> None:
    config = change(config, "training.epochs=12", "training.checkpoint_every=2")
    whole = train(config, tmp_path / "whole", progress=False)
    run = RunFolder(tmp_path / "killed")
    moments = random.Random(0)
    for _ in range(KILLS):
        child = server.Process(target=train, args=(config, run.path), kwargs={"resume": True, "progress": False})
        before = _saved_step(run)
        child.start()
        deadline = time.monotonic() + 60
        while _saved_step(run) == before and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        child.kill()
        child.join()
        _assert_readable(run)
        if run.is_finished():
            break
    again = train(config, run.path, resume=True, progress=False)
    assert_same_result(whole, again)
    assert leftovers(run.path) == []


@pytest.mark.parametrize("step", [1, STEPS_PER_EPOCH + 3])
def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(
    config: RunConfig, tmp_path: Path, server: ForkServerContext, step: int
) -> None:
    config = change(config, "training.checkpoint_every=2")
    whole = train(config, tmp_path / "whole", progress=False)
    child = server.Process(target=_train_until_killed, args=(config, tmp_path / "killed", step))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert_same_result(whole, train(config, tmp_path / "killed", resume=True, progress=False))


def _train_until_killed(config: RunConfig, path: Path, step: int) -> None:
    begin = Session.begin_step

    def begin_or_die(session: Session, done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(session, done)

    Session.begin_step = begin_or_die  # type: ignore[method-assign]
    train(config, path, progress=False)


def test_a_kill_between_the_record_of_an_epoch_and_its_checkpoint_leaves_one_record(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The checkpoint of the epoch's last step is already there, but the epoch itself is not in it.
    config = change(config, f"training.checkpoint_every={STEPS_PER_EPOCH}")
    whole = train(config, tmp_path / "whole", progress=False)
    append = RunFolder.append_metrics

    def die_after_the_second(run: RunFolder, row: Mapping[str, Any]) -> None:
        append(run, row)
        if row["epoch"] == 2:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", die_after_the_second)
        with pytest.raises(SystemExit):
            train(config, tmp_path / "killed", progress=False)
    again = train(config, tmp_path / "killed", resume=True, progress=False)
    assert [row["epoch"] for row in again.metrics()] == [1, 2, 3]
    assert_same_result(whole, again)


def _saved_step(run: RunFolder) -> tuple[int, int]:
    if not run.last_checkpoint.exists():
        return (0, 0)
    facts = read_checkpoint(run.last_checkpoint).facts
    return facts["epoch"], facts["step"]


def _assert_readable(run: RunFolder) -> None:
    assert run.config()["name"] == "small"
    assert [row["epoch"] for row in run.metrics()] == list(range(1, len(run.metrics()) + 1))
    run.environment(), run.calibration(), run.beliefs(), run.predictions("test")
    assert os.path.getsize(run.last_checkpoint) > 0
