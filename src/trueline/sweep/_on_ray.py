"""Runs as tasks of a Ray cluster."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trueline.contracts import import_optional
from trueline.sweep._work import Outcome, Stopped, Task, failed, work
from trueline.train import Interrupted, StopRequest

LOOK = 0.5  # seconds between looks whether somebody asked to stop


def on_ray(tasks: Sequence[Task], jobs: int | None, address: str) -> Iterator[Outcome]:
    """Finish runs on Ray, each as a task with one CPU, and with one GPU where its configuration may use one.

    A session that is already open is used and left open. The run folders must lie where every machine sees them.

    Args:
        tasks: the runs.
        jobs: how many at most at a time; as many as the cluster takes if None.
        address: ``"local"`` for a cluster of this machine, ``"auto"`` for one that runs here, or its address.

    Returns:
        An iterator over outcomes, as runs end.

    Raises:
        ImportError: if Ray is not installed.
        Stopped: while outcomes are read, after Ctrl-C or SIGTERM, once the runs under way are saved.
    """
    ray = import_optional("ray", extra="sweep", purpose="a sweep with an address")
    return _outcomes(ray, tasks, jobs, address)


def _outcomes(ray: Any, tasks: Sequence[Task], jobs: int | None, address: str) -> Iterator[Outcome]:
    ours = not ray.is_initialized()
    if ours:
        _open(ray, jobs, address)
    try:
        has_gpu = ray.cluster_resources().get("GPU", 0) > 0
        remote = ray.remote(_work_here)
        waiting, pending, asked = deque(tasks), dict[Any, Task](), False
        with StopRequest() as stop:
            while waiting or pending:
                if stop.signum and not asked:
                    asked = True
                    waiting.clear()
                    for reference in pending:
                        ray.cancel(reference)
                while waiting and (jobs is None or len(pending) < jobs):
                    task = waiting.popleft()
                    device = task.config.training.device
                    gpus = int(device == "cuda" or (device == "auto" and has_gpu))
                    pending[remote.options(num_cpus=1, num_gpus=gpus).remote(task, Path.cwd())] = task
                for reference in ray.wait(list(pending), timeout=LOOK)[0] if pending else ():
                    outcome = _result(ray, reference, pending.pop(reference), stopping=bool(stop.signum))
                    if outcome is not None:
                        yield outcome
            if stop.signum:
                raise Stopped(stop.signum)
    finally:
        if ours:
            ray.shutdown()


def _open(ray: Any, jobs: int | None, address: str) -> None:
    options: dict[str, Any] = {}
    if not address.startswith("ray://"):  # which takes none of these
        options |= {"logging_level": "warning", "log_to_driver": False}
    if address != "local":
        ray.init(address=address, **options)
        return
    options |= {"include_dashboard": False, **({} if jobs is None else {"num_cpus": jobs})}
    # Ray reports the use of a cluster that it starts, unless told not to.
    chosen = "RAY_USAGE_STATS_ENABLED" in os.environ
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address, **options)
    finally:
        if not chosen:
            del os.environ["RAY_USAGE_STATS_ENABLED"]


def _work_here(task: Task, folder: Path) -> Outcome | None:
    with contextlib.suppress(OSError):  # relative paths mean what they meant, where the machine has that folder
        os.chdir(folder)
    try:
        return work(task)
    except Interrupted:
        return None


def _result(ray: Any, reference: Any, task: Task, *, stopping: bool) -> Outcome | None:
    try:
        outcome: Outcome | None = ray.get(reference)
    except (ray.exceptions.RayError, KeyboardInterrupt) as error:
        return None if stopping else failed(task, f"{type(error).__name__}: {error}")
    return outcome
