"""Sweeps on Ray: once on a real cluster of this machine, and in detail with a stand-in for it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trueline.sweep import Sweep, SweepInterrupted, _on_ray, read_sweep, run_sweep
from trueline.train import RunConfig, RunFolder

from .conftest import assert_same_runs, small_run


class RayError(Exception):
    """What the stand-in raises for a task that was lost."""


@dataclass(eq=False)
class Reference:
    call: Callable[[], Any]
    lost: bool = False


@dataclass
class StandIn:
    """Does tasks in this process, one at each wait."""

    initialised: bool = False
    gpus: int = 0
    lose: str = "nothing"
    log: list[Any] = field(default_factory=list)
    at_once: int = 0
    exceptions = SimpleNamespace(RayError=RayError)

    def is_initialized(self) -> bool:
        return self.initialised

    def init(self, **options: Any) -> None:
        self.log.append(("init", options))

    def shutdown(self) -> None:
        self.log.append("shutdown")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": float(self.gpus)} if self.gpus else {})}

    def remote(self, function: Callable[..., Any]) -> Any:
        def options(**resources: Any) -> Any:
            self.log.append(resources)
            return SimpleNamespace(
                remote=lambda task, cwd: Reference(lambda: function(task, cwd), self.lose in task.name)
            )

        return SimpleNamespace(options=options)

    def wait(self, references: list[Reference], timeout: float) -> tuple[list[Reference], list[Reference]]:
        self.at_once = max(self.at_once, len(references))
        return references[:1], references[1:]

    def get(self, reference: Reference) -> Any:
        if reference.lost:
            raise RayError("the machine is gone")
        return reference.call()

    def cancel(self, reference: Reference) -> None:
        self.log.append("cancel")
        reference.lost = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    ray = StandIn()
    monkeypatch.setattr(_on_ray, "import_optional", lambda *_, **__: ray)
    return ray


def test_a_cluster_of_this_machine_gives_the_same_bits(tmp_path: Path) -> None:
    sweep = Sweep(small_run(), ({"seed": [0, 1]}, {"optimizer.learning_rate": [0.1, 1e30]}))
    (tmp_path / "grid.toml").write_text(sweep.dump())
    # In a process of its own: Ray leaves threads and sockets behind that warn when they are collected.
    command = [
        sys.executable,
        "-m",
        "trueline",
        "sweep",
        "grid.toml",
        "--out",
        "ray",
        "--address",
        "local",
        "--jobs",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 1, done.stderr
    rows = json.loads(done.stdout)
    assert [row["state"] for row in rows] == ["finished", "failed"] * 2
    assert "NonFiniteLossError" in (tmp_path / "ray" / rows[1]["run"] / "failure.txt").read_text()
    here = run_sweep(sweep, tmp_path / "here")
    assert [row for row in rows if row["error"] is None] == [row for row in here if row["error"] is None]
    finished = Sweep(sweep.base, ({"seed": [0, 1]}, {"optimizer.learning_rate": [0.1]}))
    assert_same_runs(tmp_path / "here", tmp_path / "ray", finished, results=False)


@pytest.mark.parametrize(
    ("address", "jobs", "options"),
    [
        ("local", 3, {"num_cpus": 3, "include_dashboard": False, "logging_level": "warning", "log_to_driver": False}),
        ("local", None, {"include_dashboard": False, "logging_level": "warning", "log_to_driver": False}),
        ("auto", 3, {"logging_level": "warning", "log_to_driver": False}),
        ("ray://head:10001", 3, {}),
    ],
)
def test_a_session_is_opened_at_the_address_and_closed(
    sweep: Sweep, ray: StandIn, address: str, jobs: int | None, options: dict[str, Any], tmp_path: Path
) -> None:
    rows = run_sweep(sweep, tmp_path, address=address, jobs=jobs)
    assert {row["state"] for row in rows} == {"finished"}
    assert ray.log[0] == ("init", {"address": address, **options})
    assert ray.log[-1] == "shutdown"
    assert ray.at_once == (4 if jobs is None else jobs)


def test_an_open_session_stays_open(sweep: Sweep, ray: StandIn, tmp_path: Path) -> None:
    ray.initialised = True
    run_sweep(sweep, tmp_path, address="auto")
    assert "shutdown" not in ray.log
    assert ray.log == [{"num_cpus": 1, "num_gpus": 0}] * 4


@pytest.mark.parametrize(("device", "gpus", "asked"), [("cpu", 4, 0), ("auto", 4, 1), ("auto", 0, 0), ("cuda", 0, 1)])
def test_a_task_asks_for_a_gpu_if_it_may_use_one(
    base: RunConfig, ray: StandIn, device: str, gpus: int, asked: int, tmp_path: Path
) -> None:
    ray.gpus, ray.lose = gpus, "seed"  # nothing is trained
    run_sweep(Sweep(base, ({"training.device": [device], "seed": [0]},)), tmp_path, address="auto")
    assert {"num_cpus": 1, "num_gpus": asked} in ray.log


def test_a_lost_task_fails_its_own_run(sweep: Sweep, ray: StandIn, tmp_path: Path) -> None:
    ray.lose = "hidden=8,seed=0"
    rows = run_sweep(sweep, tmp_path, address="auto")
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "finished"]
    assert rows[2]["error"] == "RayError: the machine is gone"
    assert (tmp_path / rows[2]["run"] / "failure.txt").read_text() == "RayError: the machine is gone\n"


def test_a_stop_cancels_what_is_pending(
    sweep: Sweep, ray: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run: RunFolder) -> dict[str, float]:
        requests[0].signum = 15
        return {}

    requests = []
    original = _on_ray.StopRequest

    def note() -> Any:
        requests.append(original())
        return requests[0]

    monkeypatch.setattr(_on_ray, "StopRequest", note)
    with pytest.raises(SweepInterrupted, match="stopped by SIGTERM"):
        run_sweep(sweep, tmp_path, address="auto", jobs=2, score=stop)
    assert ray.log.count("cancel") == 1
    assert ray.log[-1] == "shutdown"
    assert [row["state"] for row in read_sweep(tmp_path)] == ["finished", "waiting", "waiting", "waiting"]
    assert list(tmp_path.rglob("failure.txt")) == []


def test_without_ray_the_error_names_the_extra_before_anything_is_written(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ImportError, match=r"a sweep with an address needs ray; install it with: pip install 'trueline\[sweep\]'"
    ):
        run_sweep(sweep, tmp_path, address="auto")
    assert list(tmp_path.iterdir()) == []
