"""A grid of runs, from the first look at its folder to its results."""

import contextlib
import signal
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trueline.contracts import write_atomically
from trueline.sweep._in_process import in_process
from trueline.sweep._in_processes import in_processes
from trueline.sweep._on_ray import on_ray
from trueline.sweep._progress import SweepProgress, Watch
from trueline.sweep._results import Results
from trueline.sweep._scores import sweep_scores
from trueline.sweep._sweep import Sweep
from trueline.sweep._work import FAILURE, Outcome, Stopped, Task
from trueline.train import Interrupted, RunFolder, check_same_config, dump_config

_ORDER = ("finished", "started", "failed", "new")


class SweepInterrupted(Interrupted):
    """A sweep was asked to stop, and every run that was under way is saved.

    Args:
        signum: the signal that asked.
        folder: of the sweep.

    Attributes:
        exit_code: what a program ended by that signal returns, 130 for Ctrl-C.
    """

    def __init__(self, signum: int, folder: Path) -> None:
        self.exit_code = 128 + signum
        message = f"stopped by {signal.Signals(signum).name}; every run under way is saved"
        RuntimeError.__init__(self, f"{message}; go on with: trueline sweep {folder}")


def plan_sweep(sweep: Sweep, folder: str | Path) -> dict[str, str]:
    """Check a sweep and say what there is to do, without doing it.

    Args:
        sweep: the grid.
        folder: where its runs go.

    Returns:
        By the name of each run ``"finished"``, ``"started"``, ``"failed"`` or ``"new"``.

    Raises:
        ValueError: if a run has an unknown key or a value that is not valid, or the folder holds it with another
            configuration.
    """
    states = {}
    for cell in sweep.cells():
        run = RunFolder(Path(folder) / cell.name)
        given = run.path / "config.toml"
        if given.exists():
            check_same_config(run.config(), tomllib.loads(dump_config(cell.config)), given)
        if (run.path / FAILURE).exists():
            states[cell.name] = "failed"
        elif run.is_finished():
            states[cell.name] = "finished"
        else:
            states[cell.name] = "started" if given.exists() else "new"
    return states


def run_sweep(
    sweep: Sweep,
    folder: str | Path,
    *,
    jobs: int | None = None,
    address: str | None = None,
    score: Callable[[RunFolder], Mapping[str, float]] = sweep_scores,
    progress: Callable[[SweepProgress], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and score every run of a grid.

    Everything is checked before anything runs. Each run has a folder of its own: finished runs are read, killed ones go
    on from their last checkpoint. A run that fails leaves ``failure.txt`` in its folder and does not stop the others;
    the next call tries it again. ``sweep.json`` and ``sweep.csv`` are replaced after each run, and ``sweep.toml``
    is the grid. One call at a time may use a folder.

    Args:
        sweep: the grid.
        folder: where ``sweep.toml``, the results and the run folders go.
        jobs: runs at a time, 1 by default. Several have processes of their own, which share the threads and the device;
            a script then needs ``if __name__ == "__main__":``. With an address, the largest number of tasks at a time,
            by default as many as the cluster takes.
        address: ``"local"``, ``"auto"`` or an address, to run on Ray; the folder must then lie where every machine sees
            it.
        score: what to note about a finished run, in finite numbers. It is called where the run is, so with several jobs
            or an address it must be a function of a module.
        progress: receives how far the sweep is, about every second and at each end of a run.

    Returns:
        The rows that :func:`read_sweep` reads back.

    Raises:
        ValueError: as :func:`plan_sweep` does, for fewer than one job, or a score with the name of another column.
        ImportError: if an address is given and Ray is not installed.
        SweepInterrupted: after Ctrl-C or SIGTERM, once the runs under way are saved.

    Cost:
        That of :func:`trueline.train.train` for each run. Results of finished runs are scored again by each call.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"a sweep needs at least 1 job, got {jobs}")
    folder = Path(folder)
    states = plan_sweep(sweep, folder)
    cells = {cell.name: cell for cell in sweep.cells()}
    # What is there already is read first, so that the results are soon complete again.
    names = sorted(states, key=lambda name: _ORDER.index(states[name]))
    tasks = [Task(name, cells[name].config, (folder / name).absolute(), score) for name in names]
    outcomes = _execute(tasks, jobs, address)
    write_atomically(folder / "sweep.toml", sweep.dump())
    results = Results(folder, list(cells.values()))
    try:
        with contextlib.nullcontext() if progress is None else Watch(cells, folder, progress) as watch:
            for outcome in outcomes:
                results.note(outcome)
                if watch is not None:
                    watch.end(outcome)
    except Stopped as stop:
        raise SweepInterrupted(stop.signum, folder) from None
    return results.rows


def _execute(tasks: Sequence[Task], jobs: int | None, address: str | None) -> Iterator[Outcome]:
    if address is not None:
        return on_ray(tasks, jobs, address)
    return in_process(tasks) if jobs in (None, 1) else in_processes(tasks, jobs or 1)
