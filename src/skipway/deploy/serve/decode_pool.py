"""The processes of decode_process.py from the server's side: kept ready, given images, and replaced when they end."""

import asyncio
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from skipway.deploy.serve.decode_process import LENGTHS, READY, DecodeTask, Pixels
from skipway.deploy.serve.limits import RefusedError, busy

FORKS = hasattr(os, "fork") and hasattr(socket, "send_fds")  # Windows has neither: there, threads decode everything
START_SECONDS = 120.0  # for the first import on a machine that is busy
BACK_OFF = 5.0  # seconds before a start that failed is tried again
LATE = 2.0  # seconds beyond a task's, by which the kernel has ended its process
ANSWER_BYTES = 1 << 28  # of pixels, far more than a network's input has
HEAD_BYTES = 1 << 16

Child = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class DecodePool:
    """`count` decoding processes, which have imported `modules`. It is used and closed within one event loop; they
    start with `begin`."""

    def __init__(self, count: int, modules: Sequence[str] = ("skipway.deploy.serve.decode_tasks",)) -> None:
        self.count, self.modules = count, modules
        self.idle: asyncio.Queue[Child] = asyncio.Queue()
        self.begun: list[float] = []  # the loop's times since which images are being decoded
        self.children: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.fork_server: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.started = self.closed = False

    def begin(self) -> None:
        """Start the processes, if they have not been."""
        if not self.started:
            self.started = True
            for _ in range(self.count):
                self.spawn(self.add_child())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # asyncio would report one that nobody waits for any more

    async def add_child(self) -> None:
        """Add an idle process, however often it has to be tried."""
        while True:
            try:
                self.idle.put_nowait(await self.fork_child())
                return
            except TimeoutError:
                self.end_fork_server()
            except (OSError, EOFError):  # no more processes or files are to be had, or it ended and begins anew
                await asyncio.sleep(BACK_OFF)

    async def fork_child(self) -> Child:
        """A new process, when it is ready. Raises OSError, EOFError or TimeoutError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self.running_fork_server(), [READY], [theirs.fileno()])
            child = await asyncio.open_connection(sock=ours, limit=1 << 20)
        except OSError:
            ours.close()
            raise
        self.children.add(child[1])
        try:
            async with asyncio.timeout(START_SECONDS):
                await child[0].readexactly(len(READY))
        except BaseException:
            self.drop(child)
            raise
        return child

    def running_fork_server(self) -> socket.socket:
        """Where to ask for a process. Raises OSError when that cannot be started."""
        if self.fork_server is not None and self.fork_server.poll() is not None:
            self.end_fork_server()
        if self.control is None:
            ours, theirs = socket.socketpair()
            script = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"import {', '.join(self.modules)}; "  # here once, not in each copy
                f"from skipway.deploy.serve.decode_process import main; main({theirs.fileno()})"
            )
            try:
                with theirs:
                    self.fork_server = subprocess.Popen(
                        [sys.executable, "-c", script],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                        process_group=0,  # Ctrl-C is for the server
                        env=os.environ | {"OMP_NUM_THREADS": "1"},
                    )
            except OSError:
                ours.close()
                raise
            self.control = ours
        return self.control

    def end_fork_server(self) -> None:
        """End it and every process that it made."""
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.fork_server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.fork_server.pid, signal.SIGKILL)
            self.fork_server.wait()
            self.fork_server = None

    def drop(self, child: Child) -> None:
        self.children.discard(child[1])
        child[1].close()

    async def run(self, task: DecodeTask, content: bytes, until: float) -> Pixels:
        """What `task` gives of the image `content`; until: the loop's time by which it must have begun.

        Raises RefusedError: 422 for what it refuses and for an image whose process ended, 429 when none was free.
        """
        self.begin()
        try:
            async with asyncio.timeout_at(until):
                child = await self.idle.get()
        except TimeoutError:
            raise busy(task.seconds) from None
        # the request may be given up before its image is decoded; the process is then kept all the same
        return await asyncio.shield(self.spawn(self.use(child, task, content)))

    async def use(self, child: Child, task: DecodeTask, content: bytes) -> Pixels:
        """Have `child` decode an image, and keep or replace it."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.begun.append(start)
        ended = True
        try:
            async with asyncio.timeout(task.seconds + LATE):
                found = await exchange(child, task, content)
            ended = False
        except (OSError, EOFError, TimeoutError, ValueError):
            if loop.time() - start < task.seconds * 0.9:
                raise RefusedError(422, f"{task.name} cannot be read (its decoder crashed): replace it") from None
            raise RefusedError(
                422,
                f"{task.name} takes longer than {task.seconds:g} seconds to decode: make it smaller, or save it anew",
            ) from None
        finally:
            self.begun.remove(start)
            if ended:
                self.drop(child)
                if not self.closed:
                    self.spawn(self.add_child())
            else:
                self.idle.put_nowait(child)
        if isinstance(found, RefusedError):
            raise found
        return found

    async def close(self) -> None:
        """End all processes, whatever they do."""
        self.closed = True
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.end_fork_server()
        for writer in list(self.children):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self.children.clear()


async def exchange(child: Child, task: DecodeTask, content: bytes) -> Pixels | RefusedError:
    """Send a task and hear its answer. Raises OSError, EOFError and ValueError for a process that ended or is not
    itself any more."""
    reader, writer = child
    pickled = pickle.dumps(task)
    writer.write(LENGTHS.pack(len(pickled), len(content)) + pickled)
    writer.write(content)
    await writer.drain()
    head_length, count = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    if head_length > HEAD_BYTES or count > ANSWER_BYTES:
        raise ValueError("an answer of absurd length")
    head = json.loads(await reader.readexactly(head_length))
    if "status" in head:
        return RefusedError(int(head["status"]), str(head["sentence"]))
    shape, (height, width) = tuple(map(int, head["shape"])), map(int, head["size"])
    if math.prod(shape) != count:
        raise ValueError("an answer of another shape")
    values = np.frombuffer(bytearray(await reader.readexactly(count)), np.uint8).reshape(shape)
    return Pixels(values, (height, width))
