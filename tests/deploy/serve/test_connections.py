"""Connections are bounded, answers must be taken, and the server ends within its grace whatever is at work."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from skipway.deploy.serve.http_timeouts import ACCEPTS, ON_THEIR_WAY, OTHER_FILES, connections_allowed, protocol_of
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.server import listener, server

ANSWER = 8 << 20  # bytes, more than the system keeps of an answer that nobody takes
ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ANSWER bytes at /large, one after a minute at /slow, else two."""
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    size = ANSWER if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode())]})
    await send({"type": "http.response.body", "body": bytes(size)})


class Running:
    """A server in this event loop."""

    def __init__(self, limits: Limits) -> None:
        self.bound = listener("127.0.0.1", 0)
        self.bound.listen()
        config = uvicorn.Config(
            app,
            http=protocol_of(limits),
            lifespan="off",
            log_level="error",
            backlog=ACCEPTS,
            timeout_graceful_shutdown=1,
        )
        self.server = server(config)

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.server.serve([self.bound]))
        while not self.server.started:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.task

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.bound.getsockname()[:2], limit=1 << 12)


def run(work: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(limited())


def test_who_does_not_take_an_answer_is_cut_off_and_who_takes_it_slowly_is_not() -> None:
    async def work() -> None:
        async with Running(Limits(write_seconds=0.4)) as running:
            lazy_reader, lazy = await running.connect()
            slow_reader, slow = await running.connect()
            for writer in (lazy, slow):
                writer.write(ASKED.replace(b"/ ", b"/large "))
            taken = 0
            while len(running.server.server_state.connections) == 2:
                taken += len(await slow_reader.read(1 << 16))
                await asyncio.sleep(0.001)
            while taken < ANSWER:
                taken += len(await slow_reader.read(1 << 16))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await lazy_reader.readexactly(ANSWER)
            for writer in (lazy, slow):
                writer.close()

    run(work)


def test_where_there_are_too_many_connections_the_oldest_idle_one_makes_room() -> None:
    async def work() -> None:
        async with Running(Limits(connections=8)) as running:
            idle = [await running.connect() for _ in range(40)]
            reader, writer = await running.connect()
            writer.write(ASKED)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            assert len(running.server.server_state.connections) <= 8
            ended = [one for one, _ in idle if one.at_eof() or one.exception() is not None]
            assert ended[:20] == [one for one, _ in idle[:20]]
            for _, other in [*idle, (reader, writer)]:
                other.close()

    run(work)


def test_where_all_connections_are_at_work_another_is_told_so() -> None:
    async def work() -> None:
        async with Running(Limits(connections=8)) as running:
            busy = [await running.connect() for _ in range(8)]
            for _, writer in busy:
                writer.write(ASKED.replace(b"/ ", b"/slow "))
            while sum(one.at_work() for one in running.server.server_state.connections) < 8:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            reader, writer = await running.connect()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert len(await reader.read()) == length
            for _, other in [*busy, (reader, writer)]:
                other.close()

    run(work)


@contextmanager
def files_allowed(count: int) -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_bound_on_connections_follows_from_the_files_that_a_process_may_open() -> None:
    with files_allowed(1000):
        assert connections_allowed() == 1000 - OTHER_FILES - ON_THEIR_WAY
    with files_allowed(60):
        assert connections_allowed() == 8


ENDLESS = """
import sys, threading, uvicorn
from skipway.deploy.serve.http_timeouts import protocol_of
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.server import end_well, listener, server

async def app(scope, receive, send):
    threading.Thread(target=threading.Event().wait).start()  # nothing ends it, as a library that is stuck
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})

bound = listener("127.0.0.1", 0)
bound.listen()
config = uvicorn.Config(app, http=protocol_of(Limits()), lifespan="off", log_level="error", timeout_graceful_shutdown=1)
print(bound.getsockname()[1], flush=True)
end_well()
server(config, grace=2.0).run([bound])
"""


def test_a_process_with_a_thread_that_never_ends_has_ended_within_its_grace() -> None:
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=60) as connection:
            connection.sendall(ASKED)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            start = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            code = process.wait(30)
        assert 1.0 < time.monotonic() - start < 2.0 + 3.0  # 2 s, and what a busy machine adds
        assert code == 1
        assert "was given up" in process.stderr.read()
