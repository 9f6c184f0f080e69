"""Signals to end: the first is noticed and answered between two steps, the second ends the process at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICED = (signal.SIGINT, signal.SIGTERM)
PASSED_ON = signal.SIGUSR1  # from the process that began this one: SIGTERM, unless that comes from elsewhere as well


class Interrupted(Exception):  # noqa: N818  # it is no error
    """Work that was asked to end, and whose state is saved. `code` is the exit code that says by what.

    step: the last that was taken; 0 where several runs ended, each after its own.
    """

    def __init__(self, number: int, step: int, command: str) -> None:
        super().__init__(number, step, command)  # from which another process makes it again
        self.code = 128 + number

    def __str__(self) -> str:
        number, step, command = self.args
        after = f" after step {step:,}" if step else ""
        return f"stopped by {signal.Signals(number).name}{after}; to continue: {command}"


@contextmanager
def noticing(
    at_once: Callable[[], None] = lambda: None, doing: Callable[[], str] = lambda: "the step"
) -> Iterator[Callable[[], int]]:
    """A context in which SIGINT and SIGTERM do not end the process; what it gives tells the signal that came, or 0.

    The first is answered by a line that says what is still being finished, which `doing` tells. A second one ends the
    process at once, with 128 and its number, after a call of `at_once`. PASSED_ON, which may come on top of a signal to
    all processes, is noticed and never the second. Outside of the main thread, where nobody can take signals, nothing
    is changed.
    """
    came = [0]

    def notice(number: int, _frame: FrameType | None) -> None:
        if number == PASSED_ON:
            came[0] = came[0] or number
            return
        if came[0] in NOTICED:
            at_once()
            os._exit(128 + number)
        came[0] = number
        line = f"\nfinishing {doing()}; once more stops at once\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, notice) for number in (*NOTICED, PASSED_ON)}
    try:
        yield lambda: came[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
