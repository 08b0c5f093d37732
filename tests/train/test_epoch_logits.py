"""Logits that are kept after epochs: what they hold, that no stop changes them, and what is done with them."""

from pathlib import Path

import pytest
import torch

from trueline.conformal import LAC, ConformalEarlyStopping
from trueline.train import RunConfig, RunFolder, train
from trueline.train._saver import Saver
from trueline.train._session import Session

from .conftest import STEPS_PER_EPOCH, assert_same_result, change, leftovers, train_and_die


@pytest.fixture
def kept(config: RunConfig) -> RunConfig:
    return change(config, "training.predictions_every=1")


def test_the_last_are_the_final_predictions(kept: RunConfig, tmp_path: Path) -> None:
    run = train(kept, tmp_path, progress=False)
    for split in ("calibration", "test"):
        logits = run.epoch_logits(split)
        assert list(logits) == [1, 2, 3]
        assert torch.equal(logits[3], run.predictions(split).logits)
        assert not torch.equal(logits[2], logits[3])
    assert leftovers(tmp_path) == []
    assert run.snapshots() == {}


@pytest.mark.parametrize("average", ["none", "0.9"])
def test_one_is_the_end_of_a_shorter_run(kept: RunConfig, average: str, tmp_path: Path) -> None:
    kept = change(kept, "schedule.name=constant", "objective.name=cross_entropy", f"training.average={average}")
    run = train(kept, tmp_path / "whole", progress=False)
    short = train(change(kept, "training.epochs=1"), tmp_path / "short", progress=False)
    for split in ("calibration", "test"):
        assert torch.equal(run.epoch_logits(split)[1], short.predictions(split).logits)


def test_nothing_else_changes(kept: RunConfig, config: RunConfig, tmp_path: Path) -> None:
    first, second = train(kept, tmp_path / "kept", progress=False), train(config, tmp_path / "plain", progress=False)
    for split in ("test", "train"):
        assert torch.equal(first.predictions(split).logits, second.predictions(split).logits)
    assert second.epoch_logits("test") == {}
    assert "predictions_every" not in second.config()["training"]  # so that folders from before the key can be resumed


def test_every_second_epoch(kept: RunConfig, tmp_path: Path) -> None:
    run = train(change(kept, "training.predictions_every=2"), tmp_path, progress=False)
    assert list(run.epoch_logits("calibration")) == [2]


@pytest.mark.parametrize("step", [1, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH + 3])
def test_a_resumed_run_has_the_same_logits(kept: RunConfig, step: int, tmp_path: Path) -> None:
    kept = change(kept, "training.checkpoint_every=2")
    whole = train(kept, tmp_path / "whole", progress=False)
    killed = train_and_die(kept, tmp_path / "killed", Session, "begin_step", lambda _, now: now == step, done=False)
    assert_same_result(whole, train(kept, killed.path, resume=True, progress=False))


def test_a_kill_between_the_logits_of_an_epoch_and_its_checkpoint_changes_nothing(
    kept: RunConfig, tmp_path: Path
) -> None:
    whole = train(kept, tmp_path / "whole", progress=False)
    killed = train_and_die(
        kept, tmp_path / "killed", Saver, "keep_predictions", lambda saver: saver._position.epoch == 2, done=True
    )
    assert list(killed.epoch_logits("test")) == [1, 2]
    killed.rewind(1, STEPS_PER_EPOCH)
    assert list(killed.epoch_logits("test")) == [1]
    assert_same_result(whole, train(kept, killed.path, resume=True, progress=False))


def test_a_run_gives_conformal_sets_after_early_stopping(kept: RunConfig, tmp_path: Path) -> None:
    run = train(kept, tmp_path, progress=False)
    known, new = (torch.stack(list(run.epoch_logits(split).values())) for split in ("calibration", "test"))
    stopped = ConformalEarlyStopping(LAC(0.2)).fit(run.predictions("calibration").true_labels, logits=known)
    sets, labels = stopped.predict_set(logits=new), run.predictions("test").true_labels
    assert stopped.best_ == 2  # three epochs are not too many
    assert sets[torch.arange(len(labels)), labels].double().mean() > 0.7


def test_what_cannot_be_kept_is_refused(kept: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="predictions_every needs a calibration split"):
        change(kept, "data.calibration=0")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        change(kept, "training.predictions_every=0")
    with pytest.raises(ValueError, match="'calibration' and 'test', got 'train'"):
        RunFolder(tmp_path).epoch_logits("train")
