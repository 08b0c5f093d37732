"""``trueline sweep``: a grid of runs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trueline.cli._exit import FAILED, plain_errors

if TYPE_CHECKING:
    from trueline.sweep import SweepProgress

_EVERY = 10.0  # seconds between plain lines while no run ends


def sweep(
    grid: Annotated[Path, typer.Argument(help="A TOML file with a [grid], or the folder of a sweep to go on with.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the runs and results; runs/NAME by default.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; 1, or on Ray what the cluster takes.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Run on Ray: local, auto, or an address.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change one value in every run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every run, say what there is to do, and stop.")
    ] = False,
) -> None:
    """Train every run of a grid. Finished runs are read, killed ones go on, failed ones are tried again."""
    from trueline.sweep import Sweep, plan_sweep, run_sweep

    with plain_errors():
        settings = Sweep.from_file(grid / "sweep.toml" if grid.is_dir() else grid, set_ or [])
        folder = out or (grid if grid.is_dir() else Path("runs") / settings.base.name)
        if dry_run:
            _print_plan(plan_sweep(settings, folder), as_json)
            return
        with _shown() as progress:
            rows = run_sweep(settings, folder, jobs=jobs, address=address, progress=progress)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_end(rows, folder)
    if any(row["state"] == "failed" for row in rows):
        raise typer.Exit(FAILED)


def _print_plan(states: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(states, indent=2))
        return
    for name, state in states.items():
        typer.echo(f"{state:8s} {name}")
    counts = Counter(states.values())
    typer.echo(f"{len(states)} runs: {', '.join(f'{count} {state}' for state, count in counts.items())}")


def _print_end(rows: list[dict[str, Any]], folder: Path) -> None:
    failed = [row for row in rows if row["state"] == "failed"]
    for row in failed:
        typer.echo(f"failed: {row['run']}: {row['error']}; see {folder / row['run'] / 'failure.txt'}", err=True)
    counts = f"{len(rows) - len(failed)} of {len(rows)} runs are finished"
    again = f"; `trueline sweep {folder}` tries the failed ones again" if failed else ""
    typer.echo(f"{counts}, their scores are in {folder / 'sweep.csv'}{again}")


@contextmanager
def _shown() -> Iterator[Callable[["SweepProgress"], None]]:
    """Give a callback that shows a bar on a terminal, and elsewhere a line for each run and every ten seconds."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=Console(stderr=True, highlight=False, markup=False), transient=True) as bar:
        task, pace = bar.add_task("sweep", total=None, pace=""), _Pace()

        def show(state: "SweepProgress") -> None:
            bar.update(
                task, description=_runs(state), completed=state.epochs_done, total=state.epochs, pace=pace(state)
            )
            if state.error is not None:
                bar.console.print(f"failed: {state.ended}: {state.error}", soft_wrap=True, markup=False)

        yield show


class _Lines:
    def __init__(self) -> None:
        self._pace, self._said = _Pace(), time.monotonic()

    def __call__(self, state: "SweepProgress") -> None:
        pace, now = self._pace(state), time.monotonic()
        if state.ended is None and now - self._said < _EVERY:
            return
        self._said = now
        ended = "" if state.ended is None else f", {'failed' if state.error else 'finished'}: {state.ended}"
        typer.echo(f"{_runs(state)}, {pace}{ended}{f': {state.error}' if state.error else ''}", err=True)


class _Pace:
    """Says how fast epochs go by and how long the rest takes; what was there before counts for neither."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._before = 0

    def __call__(self, state: "SweepProgress") -> str:
        now = time.monotonic()
        if self._began is None:
            self._began, self._before = now, state.epochs_done
        done, seconds = state.epochs_done - self._before, now - self._began
        if done <= 0 or seconds <= 0:
            return "time left unknown"
        left = round(seconds / done * (state.epochs - state.epochs_done))
        return f"{done / seconds:.2g} epochs/s, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"


def _runs(state: "SweepProgress") -> str:
    failed = f", {state.failed} failed" if state.failed else ""
    return f"{state.finished} of {state.runs} runs finished{failed}"
