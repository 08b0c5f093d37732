"""How far a sweep is, told from the run folders while runs are under way."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from trueline.sweep._sweep import Cell
from trueline.sweep._work import Outcome

EVERY = 1.0  # seconds between looks into the folders


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Args:
        runs: in the grid.
        finished: runs that are finished and scored.
        failed: runs that failed.
        epochs: of the whole grid; a run that has ended counts with all of its epochs.
        epochs_done: those that are finished.
        ended: the run whose end this tells, or None if this only tells the epochs.
        error: one line if that run failed, else None.
    """

    runs: int
    finished: int
    failed: int
    epochs: int
    epochs_done: int
    ended: str | None = None
    error: str | None = None


class Watch:
    """Tells the progress at every end of a run, and about every second while it is open.

    Args:
        cells: the runs.
        folder: of the sweep.
        tell: receives the progress, from one thread at a time.
    """

    def __init__(self, cells: Mapping[str, Cell], folder: Path, tell: Callable[[SweepProgress], None]) -> None:
        self._cells, self._folder, self._tell = cells, folder, tell
        self._outcomes: dict[str, Outcome] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._tell(self._now())
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()

    def end(self, outcome: Outcome) -> None:
        """Tell the end of a run."""
        with self._lock:
            self._outcomes[outcome.name] = outcome
            self._tell(self._now(outcome))

    def _look(self) -> None:
        while not self._closed.wait(EVERY):
            with self._lock:
                self._tell(self._now())

    def _now(self, outcome: Outcome | None = None) -> SweepProgress:
        failed = sum(each.scores is None for each in self._outcomes.values())
        return SweepProgress(
            runs=len(self._cells),
            finished=len(self._outcomes) - failed,
            failed=failed,
            epochs=sum(cell.config.training.epochs for cell in self._cells.values()),
            epochs_done=sum(self._epochs(cell) for cell in self._cells.values()),
            ended=None if outcome is None else outcome.name,
            error=None if outcome is None else outcome.error,
        )

    def _epochs(self, cell: Cell) -> int:
        if cell.name in self._outcomes:
            return cell.config.training.epochs
        try:
            return (self._folder / cell.name / "metrics.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0
