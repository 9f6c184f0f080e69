"""Workers that die are replaced, later each time, and not for ever."""

import errno
import io
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from skipway.deploy.serve import server, supervisor
from skipway.deploy.serve.supervisor import (
    DEATHS,
    FAILED,
    HEALTHY_SECONDS,
    NO_SPACE,
    Supervisor,
    reason_of,
    require_space,
)
from skipway.errors import SkipwayError


class Process:
    """A worker that lives until it is told otherwise."""

    def __init__(self, pid: int) -> None:
        self.pid, self.exitcode = pid, None
        self.stubborn = False

    def is_alive(self) -> bool:
        return self.exitcode is None

    def terminate(self) -> None:
        self.exitcode = None if self.stubborn else -signal.SIGTERM

    def kill(self) -> None:
        self.exitcode = -signal.SIGKILL

    def join(self, seconds: float = 0.0) -> None: ...


class Watched:
    """A Supervisor whose processes and clock are a test's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 2) -> None:
        self.now, self.started, self.said = 1000.0, [], []  # type: ignore[var-annotated]
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.supervisor = Supervisor(self.start, count, str(folder), self.said.append)

    def start(self) -> Any:
        self.started.append(Process(100 + len(self.started)))
        return self.started[-1]

    def died(self, code: int) -> float:
        """Have the last worker die; the seconds until another was started."""
        before, since = len(self.started), self.now
        self.started[-1].exitcode = code
        while len(self.started) == before:
            self.supervisor.replace_dead()
            self.now += 0.5
        return self.now - 0.5 - since


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def test_a_worker_is_replaced_later_each_time_and_the_reason_said_once(watched: Watched) -> None:
    assert [watched.died(-signal.SIGBUS) for _ in range(DEATHS - 1)] == [0.0, 1.0, 2.0, 4.0]
    assert len(watched.said) == 1
    assert "make room on the disk of $TMPDIR" in watched.said[0]
    with pytest.raises(SkipwayError, match=r"^5 workers died one after the other.*make room on the disk of \$TMPDIR$"):
        watched.died(-signal.SIGBUS)


def test_a_worker_that_lived_well_begins_the_count_anew(watched: Watched) -> None:
    for _ in range(3 * DEATHS):
        watched.now += HEALTHY_SECONDS + 1
        assert watched.died(-signal.SIGKILL) == 0.0
    assert len(watched.said) == 1


def test_another_reason_is_said_too(watched: Watched) -> None:
    watched.died(-signal.SIGKILL)
    watched.died(NO_SPACE)
    assert ["killed" in watched.said[0], "counts cannot be written" in watched.said[1]] == [True, True]
    assert reason_of(-signal.SIGSEGV) == "signal SIGSEGV"
    assert reason_of(7) == "exit code 7"
    assert reason_of(0) == "exit code 0"


def test_a_worker_that_cannot_begin_ends_the_server_at_once(watched: Watched) -> None:
    with pytest.raises(SkipwayError, match="a worker could not start"):
        watched.died(FAILED)


def test_the_gauges_of_a_dead_worker_are_counted_no_more(watched: Watched, tmp_path: Path) -> None:
    files = [tmp_path / f"{kind}_{pid}.db" for kind in ("gauge_livesum", "counter") for pid in (100, 101)]
    for file in files:
        file.touch()
    watched.died(-signal.SIGKILL)  # the last one started, 101
    assert [file.exists() for file in files] == [True, False, True, True]


def test_who_does_not_end_is_killed(watched: Watched) -> None:
    watched.started[0].stubborn = True
    watched.supervisor.end(5.0)
    assert [process.exitcode for process in watched.started] == [-signal.SIGKILL, -signal.SIGTERM]


def test_a_full_disk_is_noticed_before_counts_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_space(str(tmp_path))
    assert not list(tmp_path.iterdir())

    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None: ...
        def flush(self) -> None: ...
        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supervisor.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="No space"):
        require_space(str(tmp_path))


def test_what_cannot_be_said_does_not_end_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    server.tell("skipway: worker 1 died and is replaced")
