"""Grids of runs that take a tenth of a second each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trueline.sweep import Sweep
from trueline.train import RunConfig, RunFolder

GRID = """
name = "small"
[data]
name = "digits"
train_size = 200
calibration = 0.0
noise = { kind = "symmetric", rate = 0.2 }
[model]
name = "mlp"
hidden = [16]
[objective]
name = "cross_entropy"
[optimizer]
name = "sgd"
learning_rate = 0.1
[training]
epochs = 2
batch_size = 40
device = "cpu"
"""


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_run() -> RunConfig:
    """Ten steps of a small network on digits."""
    tables: dict[str, Any] = {
        "name": "small",
        "data": {"name": "digits", "train_size": 200, "calibration": 0.0, "noise": {"kind": "symmetric", "rate": 0.2}},
        "model": {"name": "mlp", "hidden": [16]},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"epochs": 2, "batch_size": 40, "device": "cpu"},
    }
    return RunConfig.model_validate(tables)


@pytest.fixture
def base() -> RunConfig:
    return small_run()


@pytest.fixture
def sweep(base: RunConfig) -> Sweep:
    """Four runs of ten steps."""
    return Sweep(base, ({"model.hidden": [[4], [8]]}, {"seed": [0, 1]}))


def assert_same_runs(first: Path, second: Path, sweep: Sweep, *, results: bool = True) -> None:
    """Every run of two sweeps is equal to the bit, and so are their results, if asked."""
    for cell in sweep.cells():
        one, other = (RunFolder(folder / cell.name) for folder in (first, second))
        assert one.is_finished()
        assert other.is_finished()
        for name in (
            "predictions.safetensors",
            "config.toml",
            *(path.relative_to(one.path) for path in one.path.glob("checkpoints/*")),
        ):
            assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), f"{cell.name}: {name}"
    for name in ("sweep.json", "sweep.csv", "sweep.toml") if results else ():
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
