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


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGINT)])
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


HANG_UPS = """
import os, signal, time
from skipway.training.signals import handle_signals
with handle_signals() as came:
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGHUP)
    print(came(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_hang_up_is_a_first_signal_however_often_it_comes() -> None:
    """The shell and the system both send it when a terminal is closed; any other signal is then the second."""
    done = subprocess.run([sys.executable, "-c", HANG_UPS], capture_output=True, text=True, check=False)
    assert done.stdout == f"{signal.SIGHUP:d}\n"
    assert done.stderr.count("finishing the step") == 1
    assert done.returncode == 128 + signal.SIGTERM


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """As nohup asks."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals() as came:
            os.kill(os.getpid(), signal.SIGHUP)
            assert came() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_is_noticed_where_nothing_can_be_printed_any_more() -> None:
    code = HANG_UPS.replace("with handle", "os.close(2)\nwith handle")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{signal.SIGHUP:d}\n", 128 + signal.SIGTERM)
