"""A server while things fail around it; each function is a case, and its name what is claimed."""

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.chaos.conditions import (
    Condition,
    SmallDisk,
    all_of,
    clock_jumps,
    closed,
    environment,
    limited,
    memory_left,
    nothing,
    own_mounts,
    sent_to,
)
from benchmarks.chaos.forked import Copy, command, start
from benchmarks.chaos.outcome import Outcome, last_line, require
from benchmarks.chaos.stories import answer_of, encoded, posted

STARTS = 180.0  # seconds in which a server must answer on a busy machine
GRACE = 25.0  # the default of --grace


class Servers:
    """Servers of one bundle, the answers of each compared with those of the first."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.bundle, self.count = folder, run, 0
        self.expected: dict[str, Any] = {}
        folder.mkdir()

    def server(self, *words: str, condition: Condition = nothing) -> "Server":
        self.count += 1
        return Server(self, self.folder / f"{self.count}.said", words, condition)


class Server:
    """A process that serves; in a context, at whose end it and all that it started are killed."""

    def __init__(self, servers: Servers, said: Path, words: tuple[str, ...], condition: Condition) -> None:
        self.servers, self.said, self.began = servers, said, time.monotonic()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        port = () if "--port" in words else ("--port", str(self.port))
        words = ("serve", str(servers.bundle), "--device", "cpu", *port, *words)
        self.copy: Copy = start(all_of(condition, command(words)), said, said)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.copy.kill()
        for pid in self.copy.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self, kind: str = "JPEG", longest: float = 30.0) -> bytes:
        """The answer about an image; empty if there is none."""
        return posted(self.port, encoded(kind), kind, longest)

    def healthy(self, longest: float) -> bool:
        """Whether /healthz is answered in time."""
        found = b""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=longest) as connection:
            connection.settimeout(longest)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            found = connection.recv(100)
        return found.startswith(b"HTTP/1.1 200")

    def answers(self, kind: str = "JPEG", longest: float = STARTS) -> float:
        """Seconds until it answers as the first server did."""
        began = time.monotonic()
        while not (body := self.ask(kind)):
            require(not self.copy.ended(), f"it ended: {self.line()}")
            require(time.monotonic() - began < longest, f"no answer within {longest:.0f} s: {self.line()}")
            time.sleep(0.1)
        expected = self.servers.expected.setdefault(kind, answer_of(body))
        require(answer_of(body) == expected, f"another answer: {body[:200]!r}")
        return time.monotonic() - began

    def line(self) -> str:
        return last_line(self.said)

    def outcome(self, line: str = "", grace: float = GRACE) -> Outcome:
        """The end of a server that answers: SIGTERM, exit code 0 within the grace, and no process left."""
        self.answers()
        seconds = time.monotonic() - self.began
        os.kill(self.copy.pid, signal.SIGTERM)
        require(self.copy.wait(grace + 5) == 0, f"exit code {self.copy.code}: {self.line()}")
        self.leaves_nobody()
        return Outcome("answers", seconds, line)

    def leaves_nobody(self, longest: float = 60.0) -> None:
        """No process that it started is there any more."""
        until = time.monotonic() + longest
        while self.copy.left() and time.monotonic() < until:
            time.sleep(0.1)
        left = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[-60:] for pid in self.copy.left()]
        require(not left, f"processes are left after {longest:.0f} s: {left}")

    def refusal(self, said: str, within: float) -> Outcome:
        """It ends with one line."""
        code = self.copy.wait(within)
        require(code == 2 and said in self.line(), f"exit code {code}: {self.line()}")
        require("Traceback" not in self.said.read_text(), f"a traceback: {self.line()}")
        self.leaves_nobody()
        return Outcome("one line", time.monotonic() - self.began, self.line())

    def workers(self) -> list[int]:
        """The processes that hold its port, besides the first."""
        return [pid for pid in self.copy.left() if listens(pid, self.port)]


def listens(pid: int, port: int) -> bool:
    """Whether a process has the listening socket of a port."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(wanted) and row[3] == "0A"}
    with suppress(OSError):
        return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def stopped_for_five_seconds_it_answers(made: Servers) -> Outcome:
    with made.server() as server:
        server.answers()
        os.kill(server.copy.pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(server.copy.pid, signal.SIGCONT)
        return server.outcome()


def a_killed_server_leaves_nobody_and_another_takes_its_port(made: Servers) -> Outcome:
    with made.server("--workers", "2") as server:
        server.answers()
        server.answers("AVIF")
        os.kill(server.copy.pid, signal.SIGKILL)
        server.copy.wait()
        server.leaves_nobody()
    with made.server("--port", str(server.port)) as another:
        another.port = server.port
        return another.outcome()


def a_killed_worker_is_said_and_replaced(made: Servers) -> Outcome:
    with made.server("--workers", "2") as server:
        server.answers()
        victim = max(server.workers())
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + STARTS
        while f"worker {victim} died and is replaced" not in server.said.read_text():
            require(time.monotonic() < until, f"nothing is said: {server.line()}")
            time.sleep(0.1)
        return server.outcome(server.line())


def a_killed_decoding_process_is_replaced(made: Servers) -> Outcome:
    with made.server() as server:
        server.answers("AVIF")
        decoders = [pid for pid in server.copy.left() if not listens(pid, server.port)]
        for pid in decoders:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.answers("AVIF")
        return server.outcome()


def a_hang_up_ends_it_and_all_its_processes(made: Servers) -> Outcome:
    with made.server("--workers", "2") as server:
        server.answers()
        os.kill(server.copy.pid, signal.SIGHUP)
        code = server.copy.wait(GRACE + 5)
        server.leaves_nobody()
        require("Traceback" not in server.said.read_text(), f"a traceback: {server.line()}")
        return Outcome("ended, nobody left", time.monotonic() - server.began, f"exit code {code}")


@contextmanager
def two_workers_on_a_small_disk(made: Servers, name: str) -> Iterator[tuple[SmallDisk, Server]]:
    """A server whose $TMPDIR is a disk of 32 MB."""
    here = environment(TMPDIR=str(made.folder / name))
    with SmallDisk(made.folder / name, 32) as disk, made.server("--workers", "2", condition=here) as server:
        server.answers()
        yield disk, server


def a_full_temporary_folder_is_not_used(made: Servers) -> Outcome:
    """Python takes the next folder in which a file can be written."""
    with SmallDisk(made.folder / "tmp0", 1) as disk:
        disk.fill()
        with made.server("--workers", "2", condition=environment(TMPDIR=str(disk.folder))) as server:
            return server.outcome("counts are kept in /tmp")


def a_temporary_folder_that_fills_under_two_workers_is_a_line(made: Servers) -> Outcome:
    """One worker is killed, and those in its place cannot keep their counts."""
    with two_workers_on_a_small_disk(made, "tmp1") as (disk, server):
        disk.fill()
        os.kill(max(server.workers()), signal.SIGKILL)
        return server.refusal("make room on the disk of $TMPDIR", STARTS)


def a_temporary_folder_with_room_again_is_used_again(made: Servers) -> Outcome:
    with two_workers_on_a_small_disk(made, "tmp2") as (disk, server):
        disk.fill()
        os.kill(max(server.workers()), signal.SIGKILL)
        until = time.monotonic() + STARTS
        while "make room on the disk of $TMPDIR" not in server.said.read_text():
            require(time.monotonic() < until and not server.copy.ended(), f"not said: {server.line()}")
            time.sleep(0.05)
        line = server.line()
        disk.empty()
        return server.outcome(line)


def few_files_and_silent_connections_leave_room_to_ask(made: Servers) -> Outcome:
    with made.server(condition=limited(resource.RLIMIT_NOFILE, 200)) as server:
        server.answers()
        silent = []
        for _ in range(300):
            with suppress(OSError):
                silent.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        began = time.monotonic()
        require(server.healthy(10), "/healthz is not answered")
        line = f"/healthz after {time.monotonic() - began:.1f} s, beside {len(silent)} silent connections"
        for connection in silent:
            connection.close()
        return server.outcome(line)


def little_memory_is_enough_or_a_line(made: Servers) -> Outcome:
    with made.server(condition=memory_left(60)) as server:
        while not (body := server.ask()) and not server.copy.ended():
            time.sleep(0.1)
        return server.outcome() if body else server.refusal("", 1)


def a_bundle_that_vanishes_is_served_on(made: Servers) -> Outcome:
    with made.server() as server:
        server.answers()
        made.bundle.rename(made.folder / "away")
        try:
            server.answers()
        finally:
            (made.folder / "away").rename(made.bundle)
        return server.outcome()


def a_worker_without_its_bundle_is_a_line(made: Servers) -> Outcome:
    with made.server("--workers", "2") as server:
        server.answers()
        made.bundle.rename(made.folder / "away")
        try:
            os.kill(max(server.workers()), signal.SIGKILL)
            return server.refusal("a worker could not start", STARTS)
        finally:
            (made.folder / "away").rename(made.bundle)


def the_clock_jumps(seconds: float) -> Callable[[Servers], Outcome]:
    def case(made: Servers) -> Outcome:
        with made.server(condition=clock_jumps(seconds, 3.0)) as server:
            server.answers()
            time.sleep(4)
            return server.outcome()

    return case


def a_full_dev_shm_does_not_matter(made: Servers) -> Outcome:
    full = own_mounts("-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm")
    with made.server(condition=full) as server:
        server.answers("AVIF")
        return server.outcome()


def a_read_only_home_does_not_matter(made: Servers) -> Outcome:
    home = made.folder / "home"
    home.mkdir()
    only_read = own_mounts("-t", "tmpfs", "-o", "ro", "tmpfs", str(home))
    gone = environment(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    with made.server(condition=all_of(only_read, gone)) as server:
        return server.outcome()


def closed_standard_input_does_not_matter(made: Servers) -> Outcome:
    with made.server(condition=closed(0)) as server:
        return server.outcome()


def a_broken_pipe_does_not_matter(made: Servers) -> Outcome:
    """Whoever read its output has gone, and it still has something to say."""
    reading, writing = os.pipe()

    def piped() -> None:
        for descriptor in (1, 2):
            os.dup2(writing, descriptor)
        os.close(reading)
        os.close(writing)

    with made.server("--workers", "2", condition=piped) as server:
        os.close(writing)
        server.answers()
        os.close(reading)
        os.kill(max(server.workers()), signal.SIGKILL)
        time.sleep(3)
        return server.outcome()


def output_on_a_full_disk_does_not_matter(made: Servers) -> Outcome:
    with made.server("--workers", "2", condition=sent_to(Path("/dev/full"), 2)) as server:
        server.answers()
        os.kill(max(server.workers()), signal.SIGKILL)
        time.sleep(3)
        return server.outcome()


def a_port_that_is_taken_is_a_line(made: Servers) -> Outcome:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with made.server("--port", str(taken.getsockname()[1])) as server:
            return server.refusal("cannot be served", STARTS)


def clients_that_hang_up_in_the_middle_do_not_matter(made: Servers) -> Outcome:
    with made.server() as server:
        server.answers()
        image = encoded("JPEG")
        for i in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n"
                whole = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image
                connection.sendall(whole[: len(whole) * i // 200])
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        return server.outcome()


def ended_under_load_it_answers_and_ends_in_its_grace(made: Servers) -> Outcome:
    with made.server() as server:
        server.answers()
        image = encoded("JPEG")
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n"
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(20)]
        for connection in connections:
            connection.sendall(f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image)
        time.sleep(0.5)
        began = time.monotonic()
        os.kill(server.copy.pid, signal.SIGTERM)
        statuses = []
        for connection in connections:
            statuses.append(connection.recv(12)[9:12].decode())
            connection.close()
        require(server.copy.wait(GRACE + 5) == 0, f"exit code {server.copy.code}")
        took = time.monotonic() - began
        require(set(statuses) <= {"200", "429"}, f"answers {statuses}")
        server.leaves_nobody()
        line = f"ended {took:.1f} s after SIGTERM; {statuses.count('200')} of 20 answered, the others refused with 429"
        return Outcome("answers", time.monotonic() - server.began, line)


CASES: dict[str, Callable[[Servers], Outcome]] = {
    "SIGSTOP for 5 s, SIGCONT": stopped_for_five_seconds_it_answers,
    "SIGKILL of the first of its processes": a_killed_server_leaves_nobody_and_another_takes_its_port,
    "SIGKILL of one of two workers": a_killed_worker_is_said_and_replaced,
    "SIGKILL of the decoding processes": a_killed_decoding_process_is_replaced,
    "SIGHUP": a_hang_up_ends_it_and_all_its_processes,
    "SIGTERM with 20 requests at work": ended_under_load_it_answers_and_ends_in_its_grace,
    "$TMPDIR full at the start, two workers": a_full_temporary_folder_is_not_used,
    "$TMPDIR fills under two workers, one killed": a_temporary_folder_that_fills_under_two_workers_is_a_line,
    "$TMPDIR full for a while, one worker killed": a_temporary_folder_with_room_again_is_used_again,
    "ulimit -n 200, 300 silent connections": few_files_and_silent_connections_leave_room_to_ask,
    "ulimit -v, 60 MB left": little_memory_is_enough_or_a_line,
    "its bundle vanishes": a_bundle_that_vanishes_is_served_on,
    "its bundle vanishes, one of two workers killed": a_worker_without_its_bundle_is_a_line,
    "the clock jumps a day ahead": the_clock_jumps(86_400.0),
    "the clock jumps a year back": the_clock_jumps(-365 * 86_400.0),
    "/dev/shm full": a_full_dev_shm_does_not_matter,
    "a read-only HOME": a_read_only_home_does_not_matter,
    "standard input closed": closed_standard_input_does_not_matter,
    "a broken pipe, one of two workers killed": a_broken_pipe_does_not_matter,
    "errors to a full disk, one of two workers killed": output_on_a_full_disk_does_not_matter,
    "the port is taken": a_port_that_is_taken_is_a_line,
    "200 clients hang up in the middle of a request": clients_that_hang_up_in_the_middle_do_not_matter,
}
