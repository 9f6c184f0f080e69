"""Several workers on one socket: each that dies is replaced, later each time, until too many died in a row."""

import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from prometheus_client import multiprocess

from skipway.errors import SkipwayError

FAILED, NO_SPACE = 3, 4  # exit codes of a worker that could not begin; of one that could not keep its counts
DEATHS = 5  # in a row, after which the server ends
HEALTHY_SECONDS = 60.0  # seconds that a worker must live for its death to count as the first
POLL = 0.5  # seconds between two looks at the workers
COUNTS_BYTES = 4 << 20  # that a worker's counts need on disk, more than they do
REASONS = {
    -signal.SIGKILL: "it was killed, as the system does when memory is used up",
    NO_SPACE: "its counts cannot be written: make room on the disk of $TMPDIR",
}
if hasattr(signal, "SIGBUS"):
    REASONS[-signal.SIGBUS] = "a file in memory could not be written: make room on the disk of $TMPDIR"


def reason_of(code: int | None) -> str:
    """Why a worker ended, by its exit code."""
    if code is not None and code < 0 and code not in REASONS:
        return f"signal {signal.Signals(-code).name}"
    return REASONS.get(code or 0, f"exit code {code}")


def require_space(folder: str) -> None:
    """Raise OSError unless a worker's counts can be written to `folder`: they are mapped into memory, where a full disk
    ends a process by a signal."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(COUNTS_BYTES))
        file.flush()


class Supervisor:
    """`count` processes that `start` starts, whose counts are in `folder`. say: is told of deaths."""

    def __init__(self, start: Callable[[], BaseProcess], count: int, folder: str, say: Callable[[str], None]) -> None:
        self.start, self.folder, self.say = start, folder, say
        self.workers: list[BaseProcess | None] = [start() for _ in range(count)]
        self.started = [time.monotonic()] * count
        self.due = [0.0] * count  # when the place of a dead worker is filled again
        self.deaths = 0  # in a row
        self.last_reason = ""

    def replace_dead(self) -> None:
        """Replace workers that died. Raises SkipwayError when one could not begin, or too many died in a row."""
        for place, worker in enumerate(self.workers):
            now = time.monotonic()
            if worker is not None and not worker.is_alive():
                self.record_death(worker, now - self.started[place])
                self.workers[place] = None
                self.due[place] = now + (2 ** (self.deaths - 2) if self.deaths > 1 else 0.0)
            if self.workers[place] is None and now >= self.due[place]:
                self.workers[place], self.started[place] = self.start(), now

    def record_death(self, worker: BaseProcess, lived: float) -> None:
        """Take a dead worker's gauges out of the counts, and say why it died, each reason once."""
        if worker.exitcode == FAILED:
            raise SkipwayError("a worker could not start: its error is printed above")
        assert worker.pid is not None
        multiprocess.mark_process_dead(worker.pid, self.folder)
        self.deaths = 1 if lived > HEALTHY_SECONDS else self.deaths + 1
        reason = reason_of(worker.exitcode)
        if self.deaths >= DEATHS:
            raise SkipwayError(f"{self.deaths} workers died one after the other, the last by this: {reason}")
        if reason != self.last_reason:
            self.say(f"skipway: worker {worker.pid} died and is replaced ({reason})")
            self.last_reason = reason

    def end(self, grace: float) -> None:
        """Have all workers end, and kill those that have not after `grace` seconds."""
        until = time.monotonic() + grace
        alive = [worker for worker in self.workers if worker is not None]
        for worker in alive:
            worker.terminate()
        for worker in alive:
            worker.join(max(0.0, until - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()


def supervise(
    start: Callable[[], BaseProcess],
    count: int,
    bound: socket.socket,
    folder: str,
    grace: float,
    say: Callable[[str], None],
) -> None:
    """Keep `count` workers on the socket `bound` until SIGTERM or SIGINT, and end them within `grace` seconds.

    Raises SkipwayError as `Supervisor.replace_dead`.
    """
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    supervisor = Supervisor(start, count, folder, say)
    try:
        while not ending.wait(POLL):
            supervisor.replace_dead()
    finally:
        bound.close()  # the workers' are the last: what they do not accept is refused, and nobody waits in vain
        supervisor.end(grace)
