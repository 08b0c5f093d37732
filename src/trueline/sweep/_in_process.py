"""Runs one after the other, in this process."""

import signal
from collections.abc import Iterator, Sequence

from trueline.sweep._work import Outcome, Stopped, Task, work
from trueline.train import Interrupted


def in_process(tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Finish runs in order.

    Args:
        tasks: the runs.

    Yields:
        Their outcomes.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, once the run under way is saved.
    """
    for task in tasks:
        try:
            outcome = work(task)
        except Interrupted as stop:
            raise Stopped(stop.exit_code - 128) from stop
        except KeyboardInterrupt as stop:  # between runs, where nothing is under way
            raise Stopped(signal.SIGINT) from stop
        yield outcome
