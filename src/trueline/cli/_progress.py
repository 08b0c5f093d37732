"""Progress of work that counts something."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

_PATIENCE = 2.0  # seconds of work before anything is said
_EVERY = 10.0  # seconds between plain lines


@contextmanager
def counting(verb: str, things: str) -> Iterator[Callable[[int, int], None]]:
    """Give a callback for work that says how far it is: a bar on a terminal, else a plain line every ten seconds.

    Nothing is shown of work that ends within two seconds, and nothing of it remains on a terminal.

    Args:
        verb: what is being done, such as ``"reading"``.
        things: what is counted.

    Yields:
        A function of the number done and the number to do.
    """
    if sys.stderr.isatty():
        yield from _bar(verb, things)
    else:
        yield _lines(verb, things)


def _bar(verb: str, things: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn(f"{things} {{task.fields[rate]}}"))
    start = time.monotonic()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=None, visible=False, rate="")

        def report(done: int, total: int) -> None:
            seconds = time.monotonic() - start
            rate = f"{done / seconds:,.0f}/s" if seconds else ""
            progress.update(task, completed=done, total=total, visible=seconds > _PATIENCE, rate=rate)

        yield report


def _lines(verb: str, things: str) -> Callable[[int, int], None]:
    start = said = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < (_PATIENCE if said == start else _EVERY):
            return
        said = now
        left = (now - start) * (total - done) / max(done, 1)
        rate = done / (now - start)
        typer.echo(f"{verb}: {done:,} of {total:,} {things}, {rate:,.0f}/s, {left:.0f} s left", err=True)

    return report
