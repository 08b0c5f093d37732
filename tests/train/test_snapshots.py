"""Weights that are kept after chosen epochs: what they hold, and that no stop changes them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from trueline.train import NonFiniteLossError, RunConfig, RunFolder, load_model, train
from trueline.train._checkpoint import read_checkpoint
from trueline.train._saver import Saver
from trueline.train._session import Session

from .conftest import STEPS_PER_EPOCH, assert_same_result, change, leftovers, train_and_die


@pytest.fixture
def kept(config: RunConfig) -> RunConfig:
    return change(config, "training.snapshots=[0, 1, 3]")


def test_the_epochs_asked_for_are_kept_in_order(kept: RunConfig, tmp_path: Path) -> None:
    run = train(kept, tmp_path, progress=False)
    assert {epoch: path.name for epoch, path in run.snapshots().items()} == {
        epoch: f"epoch{epoch:04d}.safetensors" for epoch in (0, 1, 3)
    }
    assert list(run.snapshots()) == [0, 1, 3]
    assert all(path == run.snapshot(epoch) for epoch, path in run.snapshots().items())
    assert leftovers(tmp_path) == []


def test_without_the_key_nothing_is_kept(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path, progress=False)
    assert run.snapshots() == {}
    assert "snapshots" not in run.config()["training"]  # so that folders from before the key can be resumed


def test_the_first_is_the_initial_network_and_the_last_the_final_one(kept: RunConfig, tmp_path: Path) -> None:
    run = train(kept, tmp_path / "whole", progress=False)
    # With no learning rate to speak of, the weights never leave where they began.
    still = train(change(kept, "optimizer.learning_rate=1e-30"), tmp_path / "still", progress=False)
    for name, tensor in load_model(still).state_dict().items():
        assert torch.allclose(load_model(run, epoch=0).state_dict()[name], tensor, rtol=0, atol=1e-25)
    _assert_same_weights(load_model(run, epoch=3), load_model(run))
    with pytest.raises(AssertionError):
        _assert_same_weights(load_model(run, epoch=1), load_model(run))


def test_one_is_the_end_of_a_shorter_run(kept: RunConfig, tmp_path: Path) -> None:
    kept = change(kept, "schedule.name=constant", "objective.name=cross_entropy")
    run = train(kept, tmp_path / "whole", progress=False)
    short = change(kept, "training.snapshots=none", "training.epochs=1")
    _assert_same_weights(load_model(run, epoch=1), load_model(train(short, tmp_path / "short", progress=False)))


def test_with_an_average_the_running_mean_is_read(kept: RunConfig, tmp_path: Path) -> None:
    run = train(change(kept, "training.average=0.9"), tmp_path, progress=False)
    _assert_same_weights(load_model(run, epoch=3), load_model(run))
    checkpoint = read_checkpoint(run.snapshot(3))
    assert set(checkpoint.parts) == {"model", "average"}
    assert not torch.equal(
        checkpoint.part("model")["classifier.weight"], checkpoint.part("average")["module.classifier.weight"]
    )


def test_it_holds_weights_and_buffers_and_no_state_of_training(kept: RunConfig, tmp_path: Path) -> None:
    run = train(change(kept, "model.batch_norm=true"), tmp_path, progress=False)
    checkpoint = read_checkpoint(run.snapshot(1))
    assert set(checkpoint.parts) == {"model"}
    assert set(checkpoint.part("model")) == set(load_model(run).state_dict())
    assert any("running_mean" in name for name in checkpoint.part("model"))
    assert (checkpoint.facts["epoch"], checkpoint.facts["step"]) == (1, 0)


@pytest.mark.parametrize("step", [0, 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 3, 2 * STEPS_PER_EPOCH])
def test_a_resumed_run_has_the_same_files(kept: RunConfig, step: int, tmp_path: Path) -> None:
    kept = change(kept, "training.checkpoint_every=2")
    whole = train(kept, tmp_path / "whole", progress=False)
    killed = train_and_die(kept, tmp_path / "killed", Session, "begin_step", lambda _, now: now == step, done=False)
    assert_same_result(whole, train(kept, killed.path, resume=True, progress=False))


def test_a_kill_between_the_weights_of_an_epoch_and_its_checkpoint_changes_nothing(
    kept: RunConfig, tmp_path: Path
) -> None:
    whole = train(kept, tmp_path / "whole", progress=False)
    killed = train_and_die(
        kept, tmp_path / "killed", Saver, "keep_snapshot", lambda saver: saver._position.epoch == 1, done=True
    )
    assert list(killed.snapshots()) == [0, 1]
    killed.rewind(0, 0)
    assert list(killed.snapshots()) == [0]
    assert_same_result(whole, train(kept, killed.path, resume=True, progress=False))


def test_an_unfinished_run_gives_the_epochs_it_has(kept: RunConfig, tmp_path: Path) -> None:
    kept = change(kept, "optimizer.learning_rate=1e30", "data.augment.noise=0")
    with pytest.raises(NonFiniteLossError):
        train(kept, tmp_path, progress=False)
    run = RunFolder(tmp_path)
    assert list(run.snapshots()) == [0]
    assert not load_model(run, epoch=0).training
    with pytest.raises(ValueError, match="no finished run"):
        load_model(run)


def test_an_epoch_that_was_not_kept_names_those_that_were(kept: RunConfig, tmp_path: Path) -> None:
    run = train(kept, tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"keeps no weights after epoch 2; kept: 0, 1, 3\. List epochs"):
        load_model(run, epoch=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 4], r"snapshots must be epochs from 0 to 3, the last one, got 4"),
        ([-1], "greater than or equal to 0"),
        ([], "at least 1 item"),
        ([0.5], "integer"),
    ],
)
def test_epochs_that_cannot_be_kept_are_refused(tables: dict[str, Any], given: list[float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunConfig.model_validate(tables | {"training": {**tables["training"], "snapshots": given}})


def _assert_same_weights(first: torch.nn.Module, second: torch.nn.Module) -> None:
    state, other = first.state_dict(), second.state_dict()
    assert state.keys() == other.keys()
    for name in state:
        assert torch.equal(state[name], other[name]), name
