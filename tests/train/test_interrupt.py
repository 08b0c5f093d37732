import os
import signal
import threading
from pathlib import Path

import pytest

from trueline.train import Interrupted
from trueline.train._interrupt import StopRequest


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts_as_before(signum: signal.Signals) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with StopRequest() as stop:
        assert stop.signum == 0
        os.kill(os.getpid(), signum)
        assert stop.signum == signum
        assert signal.getsignal(signum) == before[signum]
    assert {number: signal.getsignal(number) for number in before} == before


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)

    def fail() -> None:
        with StopRequest():
            raise KeyError("inside")

    with pytest.raises(KeyError):
        fail()
    assert signal.getsignal(signal.SIGINT) == before


def test_another_thread_trains_without_signals() -> None:
    noted = []

    def work() -> None:
        with StopRequest() as stop:
            noted.append(stop.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [0]


def test_the_message_says_what_is_saved_and_how_to_go_on() -> None:
    stopped = Interrupted(signal.SIGTERM, Path("runs/a"), 7)
    assert stopped.exit_code == 143
    assert "stopped by SIGTERM after step 7, which is saved in runs/a" in str(stopped)
    assert "go on with: trueline train runs/a" in str(stopped)
