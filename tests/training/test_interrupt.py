"""Signals: the first is noticed, the second ends the process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from skipway.training.signals import handle_signals

TWICE = """
import os, signal, time
from skipway.training.signals import handle_signals
with handle_signals() as came:
    os.kill(os.getpid(), signal.{0})
    print(came(), flush=True)
    os.kill(os.getpid(), signal.{0})
    time.sleep(60)
"""


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGINT", 2)])
def test_the_first_signal_is_noticed_and_the_second_ends_at_once(name: str, number: int) -> None:
    done = subprocess.run([sys.executable, "-c", TWICE.format(name)], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number
    assert done.stdout == f"{number}\n"
    assert "finishing the step; a second signal stops at once" in done.stderr


TOLD = """
import os, signal
from skipway.training.signals import handle_signals
with handle_signals(current=lambda: "the step, at most 7 s"):
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_who_stops_is_told_what_is_finished_first_and_how_long_that_takes() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=False)
    assert done.stderr == "\nfinishing the step, at most 7 s; a second signal stops at once\n"


def test_handlers_are_as_before_afterwards_whatever_happened() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), handle_signals() as came:
        os.kill(os.getpid(), signal.SIGTERM)
        assert came() == signal.SIGTERM
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    seen = []

    def inside() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with handle_signals() as came:
            seen.append((came(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(0, True)]
