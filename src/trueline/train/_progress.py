"""Progress on standard error: a bar with rate and time left on a terminal, a few plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows how far a run is.

    Args:
        name: what to call it.
        total: steps of the whole run.
        done: steps finished before.
        shown: False shows nothing.
        console: where to write; standard error by default.
    """

    def __init__(
        self, name: str, *, total: int, done: int = 0, shown: bool = True, console: Console | None = None
    ) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False, markup=False)
        self._shown = shown
        self._bar = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=len(name) + 15)),
            BarColumn(bar_width=12, table_column=Column(min_width=6)),
            TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True, min_width=16)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True, min_width=12)),
            TextColumn("{task.fields[scores]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            transient=True,
            disable=not (shown and self._console.is_terminal),
        )
        self._name, self._total, self._done, self._start = name, total, done, done
        self._task = self._bar.add_task(name, total=total, completed=done, rate="", left="", scores="")
        self._samples = 0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, samples: int) -> None:
        """Count one step of so many samples."""
        self._done += 1
        self._samples += samples
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, rate=self._rate(), left=self._left())

    def end_epoch(self, epoch: int, epochs: int, scores: str) -> None:
        """Tell the scores of an epoch; off a terminal at most every ten seconds, and at the end.

        Args:
            epoch: the finished epoch, from 1.
            epochs: length of the run.
            scores: what to say about it.
        """
        where = f"{self._name}: epoch {epoch}/{epochs}"
        self._bar.update(self._task, description=where, scores=scores)
        quiet = not self._bar.disable or time.monotonic() - self._last_line < SECONDS_BETWEEN_LINES
        if epoch == epochs or not quiet:
            self._last_line = time.monotonic()
            self.say(f"{where}, {scores}, {self._rate()}, {self._left()}")

    def say(self, line: str) -> None:
        """Write one line."""
        if self._shown:
            self._console.print(line, soft_wrap=True)

    def _rate(self) -> str:
        return f"{self._samples / max(time.monotonic() - self._began, 1e-9):,.0f} samples/s"

    def _left(self) -> str:
        steps = max(self._done - self._start, 1)
        seconds = round((time.monotonic() - self._began) / steps * (self._total - self._done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"
