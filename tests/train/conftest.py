"""Small runs on the digits that take a fraction of a second."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trueline.train import RunConfig, RunFolder, train, with_overrides
from trueline.train._checkpoint import read_checkpoint

STEPS_PER_EPOCH = 5


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tables() -> dict[str, Any]:
    """A run of three epochs of five steps of 40 digits, a fifth of them with wrong labels."""
    return {
        "name": "small",
        "data": {
            "name": "digits",
            "train_size": 200,
            "noise": {"kind": "symmetric", "rate": 0.2},
            "augment": {"noise": 0.1},
        },
        "model": {"name": "mlp", "hidden": [16]},
        "objective": {"name": "dps", "label_half_life": 2.0},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"epochs": 3, "batch_size": 40},
    }


@pytest.fixture
def config(tables: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(tables)


def change(config: RunConfig, *overrides: str) -> RunConfig:
    return with_overrides(config, overrides)


def train_and_die(
    config: RunConfig, folder: Path, owner: type, name: str, when: Callable[..., bool], *, done: bool
) -> RunFolder:
    """Train up to the call of ``owner.name`` that ``when`` is true of, and die before it or with it done."""
    call = getattr(owner, name)

    def dying(*arguments: Any) -> None:
        if done:
            call(*arguments)
        if when(*arguments):
            raise SystemExit
        if not done:
            call(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(SystemExit):
            train(config, folder, progress=False)
    return RunFolder(folder)


def assert_same_result(first: RunFolder, second: RunFolder) -> None:
    """Everything two runs leave behind is equal to the bit, apart from the time they took."""
    for path in ("last_checkpoint", "best_checkpoint"):
        saved, again = (read_checkpoint(getattr(run, path)) for run in (first, second))
        assert saved.facts == again.facts
        assert {part: set(named) for part, named in saved.parts.items()} == {
            part: set(named) for part, named in again.parts.items()
        }
        for part, named in saved.parts.items():
            for name, tensor in named.items():
                assert torch.equal(tensor, again.parts[part][name]), f"{path}: {part}/{name}"
    rows, others = ([{**row, "seconds": 0} for row in run.metrics()] for run in (first, second))
    assert rows == others
    assert first.stability() == second.stability()
    for name in ("predictions.safetensors", "beliefs.safetensors", "config.toml"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    assert first.calibration() == second.calibration()
    assert list(first.snapshots()) == list(second.snapshots())
    for epoch, path in first.snapshots().items():
        assert path.read_bytes() == second.snapshot(epoch).read_bytes(), f"weights after epoch {epoch}"
    for split in ("calibration", "test"):
        logits, others = first.epoch_logits(split), second.epoch_logits(split)
        assert list(logits) == list(others)
        assert all(torch.equal(logits[epoch], others[epoch]) for epoch in logits), f"{split} logits of an epoch"


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
