import io

import pytest
from rich.console import Console

from trueline.train import _progress
from trueline.train._progress import TrainingProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_progress, "time", clock)
    return clock


def _run(clock: Clock, seconds_per_epoch: float, *, shown: bool = True, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    with TrainingProgress("small", total=8, done=2, shown=shown, console=console) as progress:
        for epoch in (2, 3, 4):
            for _ in range(2):
                clock.now += seconds_per_epoch / 2
                progress.advance(50)
            progress.end_epoch(epoch, 4, "loss 1.000")
    return stream.getvalue()


def test_lines_tell_rate_and_time_left(clock: Clock) -> None:
    lines = _run(clock, 20.0).splitlines()
    assert lines == [
        "small: epoch 2/4, loss 1.000, 5 samples/s, 0:00:40 left",
        "small: epoch 3/4, loss 1.000, 5 samples/s, 0:00:20 left",
        "small: epoch 4/4, loss 1.000, 5 samples/s, 0:00:00 left",
    ]


def test_short_epochs_write_only_the_last_line(clock: Clock) -> None:
    assert _run(clock, 2.0).splitlines() == ["small: epoch 4/4, loss 1.000, 50 samples/s, 0:00:00 left"]


def test_nothing_is_written_when_not_shown(clock: Clock) -> None:
    assert _run(clock, 20.0, shown=False) == ""


def test_a_terminal_gets_a_bar_with_rate(clock: Clock) -> None:
    text = _run(clock, 2.0, terminal=True)
    assert "50 samples/s" in text
    assert "0:00:00 left" in text
    assert "small: epoch 4/4, loss 1.000, 50 samples/s, 0:00:00 left" in text  # stays when the bar is gone
