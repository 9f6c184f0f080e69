"""Commands as copies of one process that has everything imported, so that a thousand of them are affordable.

The parent has one thread that does anything, and computes nothing: a copy of it is as good as a new process, and has
its own session, by which it and all that it started are found.
"""

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from skipway import cli

POLL = 0.002  # seconds


def command(words: Sequence[str]) -> Callable[[], None]:
    """`skipway WORDS`, as the command line runs it."""

    def run() -> None:
        sys.argv = ["skipway", *words]
        cli.main()

    return run


def run_and_exit(work: Callable[[], None], output: Path, errors: Path, modules: Path | None) -> None:
    """In the copy: do `work`, and never return."""
    code = 1
    try:
        os.setsid()
        for path, descriptors in ((Path(os.devnull), [0]), (output, [1]), (errors, [2])):
            opened = os.open(path, os.O_RDONLY if path == Path(os.devnull) else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor in descriptors:
                os.dup2(opened, descriptor)
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException:
            traceback.print_exc()
        with suppress(OSError):
            sys.stdout.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
    finally:
        os._exit(code)


@dataclass
class Copy:
    """A copy of this process that does something; `code` when it has ended, negative for a signal."""

    pid: int
    began: float = field(default_factory=time.monotonic)
    code: int | None = None
    took: float = 0.0  # seconds of the processor, when it has ended

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def processor_seconds(self) -> float:
        """Of all its threads; 0 when it has ended."""
        total = 0
        with suppress(OSError, ValueError):
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def ended(self) -> bool:
        if self.code is None:
            found, status, used = os.wait4(self.pid, os.WNOHANG)
            if found:
                self.code, self.took = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        return self.code is not None

    def wait(self, longest: float = 600.0, poll: float = 0.01) -> int:
        """Its exit code. Raises TimeoutError, after it was killed."""
        until = time.monotonic() + longest
        while not self.ended():
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"not ended after {longest:.0f} s")
            time.sleep(poll)
        assert self.code is not None
        return self.code

    def kill(self) -> None:
        """SIGKILL to the copy and its process group, and wait for it."""
        if not self.ended():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def left(self) -> list[int]:
        """Processes that it started and that are still there."""
        return [pid for pid in session(self.pid) if pid != self.pid]


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            state, _, _, own = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(own) == leader and state != "Z":
                found.append(int(process.name))
    return found


def start(work: Callable[[], None], output: Path, errors: Path, modules: Path | None = None) -> Copy:
    """A copy of this process that does `work`, its output and errors appended to these files. modules: where it writes
    the names of what it has imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        run_and_exit(work, output, errors, modules)
    return Copy(pid)


def import_all(modules: Path) -> None:
    """Import what a copy has imported, so that the next ones need not."""
    for name in modules.read_text().splitlines():
        if name != "__main__" and name not in sys.modules:
            with suppress(Exception):  # some are made by others, and cannot be imported by their name
                importlib.import_module(name)
