"""Handling of SIGINT, SIGTERM and SIGHUP: the first stops between two steps, the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGHUP: int = getattr(signal, "SIGHUP", 0)  # 0, no signal, on Windows, which has neither this nor the next
PASSED_ON: int = getattr(signal, "SIGUSR1", 0)  # from the parent process: as SIGTERM, unless that arrives as well
HANDLED = (signal.SIGINT, signal.SIGTERM, *([SIGHUP] if SIGHUP else []))


class Interrupted(Exception):  # noqa: N818  # not an error
    """Work that was stopped by a signal, its state saved. `code`: the exit code, 128 and the number of the signal.

    step: the last one taken; 0 where several runs were stopped, each after its own.
    """

    def __init__(self, number: int, step: int, command: str) -> None:
        super().__init__(number, step, command)  # from which it is unpickled in another process
        self.code = 128 + number

    def __str__(self) -> str:
        number, step, command = self.args
        after = f" after step {step:,}" if step else ""
        return f"stopped by {signal.Signals(number).name}{after}; to continue: {command}"


@contextmanager
def handle_signals(
    at_once: Callable[[], None] = lambda: None, current: Callable[[], str] = lambda: "the step"
) -> Iterator[Callable[[], int]]:
    """A context in which HANDLED do not end the process; it yields a function that returns the signal, or 0.

    The first signal prints a line with the work that is still being finished, from `current`. The second ends the
    process at once, with exit code 128 and its number, after a call of `at_once`. PASSED_ON, which may arrive in
    addition to a signal to all processes, counts as the first and never as the second; neither does SIGHUP, which both
    the shell and the system send when a terminal is closed. Where SIGHUP is ignored (nohup), it stays so. Outside of
    the main thread, which alone can handle signals, nothing is changed.
    """
    received = [0]

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == PASSED_ON or (number == SIGHUP and received[0]):
            received[0] = received[0] or number
            return
        if received[0] in HANDLED:
            at_once()
            os._exit(128 + number)
        received[0] = number
        line = f"\nfinishing {current()}; a second signal stops at once\n"
        with suppress(OSError):  # a closed terminal
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    ignored = bool(SIGHUP) and signal.getsignal(SIGHUP) is signal.SIG_IGN
    numbers = [number for number in (*HANDLED, PASSED_ON) if number and (number != SIGHUP or not ignored)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
