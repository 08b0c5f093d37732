"""Two processes over gloo against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trueline.train import RunConfig, RunFolder, dump_config, train
from trueline.train._checkpoint import read_checkpoint

from .conftest import change

PROGRAM = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("error", DeprecationWarning)
from safetensors.torch import save_file
from trueline.train import _loop, load_config, train

folder = Path(sys.argv[1])
write_results = _loop.write_results

def keep_state(run, session):
    state = session.objective.state_dict()
    for name, evaluator in session.evaluators.items():
        state[f"{name}.logits"] = evaluator.logits(session.evaluated())
    rank = session.accelerator.process_index
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{run.path.name}-{rank}")
    write_results(run, session)

_loop.write_results = keep_state
for path in sorted(folder.glob("*.toml")):
    train(load_config(path), folder / f"two-{path.stem}", progress=False)
"""
OBJECTIVES = {
    "dps": ("objective.name=dps", "objective.label_half_life=2"),
    "pskd": ("objective.name=pskd",),
    "pieces": ("objective.name=dps", "training.accumulate=3", "training.clip_norm=0.5", "training.average=0.9"),
}
# Batch norm sees half a batch on each of two processes, so only the processes themselves must agree.
NORM = ("objective.name=dps", "model.batch_norm=true")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


def test_two_processes_give_the_result_of_one(config: RunConfig, folder: Path) -> None:
    # 37 samples a step, so that the two shares differ; 200 samples make steps of 33 and 34
    configs = {
        name: change(config, "training.batch_size=37", "training.device=cpu", *overrides)
        for name, overrides in OBJECTIVES.items()
    }
    for name, each in (configs | {"norm": change(config, "training.device=cpu", *NORM)}).items():
        (folder / f"{name}.toml").write_text(dump_config(each))
    (folder / "program.py").write_text(PROGRAM)
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(folder / "program.py"), str(folder)],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr[-4000:]
    for name in (*configs, "norm"):
        first, second = (load_file(folder / f"two-{name}-{rank}") for rank in (0, 1))
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), f"{name}: {key} differs between the processes"
    for name, each in configs.items():
        first = load_file(folder / f"two-{name}-0")
        one, two = train(each, folder / f"one-{name}", progress=False), RunFolder(folder / f"two-{name}")
        alone, together = (read_checkpoint(run.last_checkpoint) for run in (one, two))
        for key, value in alone.part("objective").items():  # targets and visits
            torch.testing.assert_close(value, first[key], rtol=0, atol=1e-5)
        for part in ("model", "average"):
            for key, value in alone.part(part).items():
                torch.testing.assert_close(value, together.part(part)[key], rtol=0, atol=1e-4)
        _assert_same_records(one, two)
        assert two.environment()["processes"] == 2


def _assert_same_records(one: RunFolder, two: RunFolder) -> None:
    for row, other in zip(one.metrics(), two.metrics(), strict=True):
        assert row["step"] == other["step"]
        for table in ("train", "validation", "test"):
            assert row[table] == pytest.approx(other[table], abs=1e-4)
    for split in ("train", "validation", "calibration", "test"):
        first, second = one.predictions(split), two.predictions(split)
        assert first is not None
        assert second is not None
        assert torch.equal(first.index, second.index)
        torch.testing.assert_close(first.logits, second.logits, rtol=0, atol=1e-3)
