"""Ctrl-C and SIGTERM as a wish to stop at the next step."""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(RuntimeError):  # noqa: N818  not an error: somebody asked for it
    """Training was asked to stop, and stopped with a checkpoint.

    Args:
        signum: the signal that asked.
        folder: the run.
        step: optimiser steps that are saved.

    Attributes:
        exit_code: what a program ended by that signal returns, 130 for Ctrl-C.
    """

    def __init__(self, signum: int, folder: Path, step: int) -> None:
        self.exit_code = 128 + signum
        super().__init__(
            f"stopped by {signal.Signals(signum).name} after step {step}, which is saved in {folder}; "
            f"go on with: trueline train {folder}"
        )


class StopRequest:
    """Notes the first SIGINT or SIGTERM while it is open; a second one acts as it did before.

    Outside the main thread, where Python has no signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _note(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        self.__exit__()
