"""Runs that are killed in the middle of whatever they are doing, again and again."""

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from trueline.train import RunConfig, RunFolder, train
from trueline.train._checkpoint import read_checkpoint

from .conftest import assert_same_result, change, leftovers

KILLS = 5


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
    mid_epoch = 0
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
        facts = read_checkpoint(run.last_checkpoint).facts
        mid_epoch += facts["step"] > 0
        if run.is_finished():
            break
    assert mid_epoch > 0, "no kill came in the middle of an epoch"
    again = train(config, run.path, resume=True, progress=False)
    assert_same_result(whole, again)
    assert leftovers(run.path) == []


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
