"""Signals to end: the first is noticed and answered between two steps, the second ends the process at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICED = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818  # it is no error
    """A run that was asked to end, and whose state is saved. `code` is the exit code that says by what."""

    def __init__(self, number: int, step: int, command: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step:,}; to continue: {command}")
        self.code = 128 + number


@contextmanager
def noticing() -> Iterator[Callable[[], int]]:
    """A context in which SIGINT and SIGTERM do not end the process; what it gives tells the signal that came, or 0.

    A second one ends the process at once, with 128 and its number. Outside of the main thread, where nobody can take
    signals, nothing is changed.
    """
    came = [0]

    def notice(number: int, _frame: FrameType | None) -> None:
        if came[0]:
            os._exit(128 + number)
        came[0] = number
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nfinishing the step; once more stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, notice) for number in NOTICED}
    try:
        yield lambda: came[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
