"""The table ``[stability]``: what is measured while a run is trained, and that training does not notice."""

from pathlib import Path

import pytest
import torch

from trueline.data import make_loader
from trueline.probe import hessian_eigenvalues
from trueline.train import RunConfig, RunFolder, load_model, train
from trueline.train._data import make_normalisation, make_splits
from trueline.train._session import Session

from .conftest import STEPS_PER_EPOCH, assert_same_result, change

WATCHED = ("stability.every=4", "stability.samples=50", "optimizer.momentum=0.0")


@pytest.fixture
def watched(config: RunConfig) -> RunConfig:
    return change(config, *WATCHED)


def test_a_row_is_written_every_so_many_steps(watched: RunConfig, tmp_path: Path) -> None:
    run = train(watched, tmp_path / "run", progress=False)
    rows = run.stability()
    assert [row["step"] for row in rows] == [0, 4, 8, 12]
    assert [row["epoch"] for row in rows] == [step / STEPS_PER_EPOCH for step in (0, 4, 8, 12)]
    for row in rows:
        assert row["threshold"] == pytest.approx(2 / row["learning_rate"])
        assert row["sharpness_ratio"] == pytest.approx(row["sharpness"] / row["threshold"])
        assert row["trace_ratio"] == pytest.approx(row["trace"] * row["learning_rate"] / 2)
        assert row["batch_sharpness"] > 0
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"]  # that of the step to come, along the schedule


def test_the_first_row_is_of_the_initial_weights(watched: RunConfig, tmp_path: Path) -> None:
    run = train(change(watched, "training.snapshots=[0]"), tmp_path / "run", progress=False)
    splits = make_splits(watched)
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(watched.seed))
    some = splits.train.select(order[:50].sort().values)
    plain = make_normalisation(watched, splits.train)
    batch = next(iter(make_loader(some, batch_size=50, transform=plain, device="cpu", shuffle=False).epoch(0)))
    found = hessian_eigenvalues(load_model(run, epoch=0), batch.inputs, batch.labels)
    assert run.stability()[0]["sharpness"] == pytest.approx(found.values.item(), rel=1e-3)


def test_training_goes_on_as_without_it(config: RunConfig, tmp_path: Path) -> None:
    plain = change(config, "optimizer.momentum=0.0")
    alone = train(plain, tmp_path / "alone", progress=False)
    run = train(change(plain, *WATCHED), tmp_path / "watched", progress=False)
    for split in ("train", "test"):
        first, second = alone.predictions(split), run.predictions(split)
        assert first is not None
        assert second is not None
        assert torch.equal(first.logits, second.logits)
    assert alone.stability() == []


def test_a_run_that_was_killed_has_each_row_once(
    watched: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = change(watched, "training.checkpoint_every=3")
    whole = train(watched, tmp_path / "whole", progress=False)
    begin = Session.begin_step

    def begin_or_die(session: Session, step: int) -> None:
        if step == 9:  # the last checkpoint is of step 6, the last row of step 8
            raise SystemExit
        begin(session, step)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "begin_step", begin_or_die)
        with pytest.raises(SystemExit):
            train(watched, tmp_path / "killed", progress=False)
    killed = RunFolder(tmp_path / "killed")
    assert [row["step"] for row in killed.stability()] == [0, 4, 8]
    again = train(watched, tmp_path / "killed", resume=True, progress=False)
    assert_same_result(whole, again)


def test_quantities_are_chosen_and_checked(config: RunConfig, tmp_path: Path) -> None:
    some = change(config, "stability.every=8", "stability.quantities=['sharpness']", "optimizer.name=adamw")
    rows = train(some, tmp_path / "run", progress=False).stability()
    assert rows[0]["sharpness"] is None  # Adam has no scales yet
    assert rows[1]["sharpness"] > 0
    assert rows[1]["trace"] is None
    for wrong in ("stability.every=0", "stability.samples=0", "stability.quantities=[]", "stability.quantities=['x']"):
        with pytest.raises(ValueError, match="stability"):
            change(config, "stability.every=8", wrong)
