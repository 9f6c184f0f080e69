"""Processes that decode images which might take too much time or memory: each can be ended without harm to the server.

`main` is a process that has imported everything that decoding needs and has begun no thread. For each socket that it
is sent it makes a copy of itself, which decodes one image after another for whoever holds the socket's other end. The
kernel ends a copy whose image takes too long, whatever library it is in, and refuses it memory beyond its share.

A task goes to a process pickled, with the image after it; its answer comes back as JSON and pixels, since the process
may have been taken over by what it decoded.
"""

import json
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skipway.deploy.serve.limits import RefusedError
from skipway.errors import DataError

READY = b"!"
LENGTHS = struct.Struct(">II")  # of the pickled task and of the image; or of the JSON and of the pixels
DATA_PAGES = 5  # the field of /proc/self/statm with the pages of data and stack, which RLIMIT_DATA counts


class Pixels(NamedTuple):
    """What a task gives: uint8 of any shape, and the height and width of the image that it shows."""

    values: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class DecodeTask:
    """decode: a function of a module, of the image's bytes; name: the image's; seconds and memory (bytes) that it may
    take."""

    decode: Callable[[bytes], Pixels]
    name: str
    seconds: float
    memory: int


def exactly(connection: socket.socket, count: int) -> bytes:
    """The next `count` bytes. Raises EOFError when the other end is closed."""
    content = bytearray(count)
    view, done = memoryview(content), 0
    while done < count:
        came = connection.recv_into(view[done:])
        if not came:
            raise EOFError
        done += came
    return bytes(content)


def limit_memory(count: int) -> None:
    """Have the system refuse more than `count` bytes beyond what this process has; only Linux tells what that is."""
    if sys.platform == "linux":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[DATA_PAGES]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + count, resource.RLIM_INFINITY))


def answer(task: DecodeTask, content: bytes) -> tuple[dict[str, object], bytes]:
    """The head of an answer and its pixels; none of a refused image."""
    limit_memory(task.memory)
    signal.setitimer(signal.ITIMER_REAL, task.seconds)
    try:
        pixels = task.decode(content)
    except RefusedError as fault:
        return {"status": fault.status, "sentence": fault.sentence}, b""
    except DataError as fault:
        return {"status": 422, "sentence": str(fault)}, b""
    except MemoryError:
        most = f"{task.memory // 10**6:,} MB"
        return {"status": 422, "sentence": f"{task.name} needs more than {most} to be decoded: make it smaller"}, b""
    except Exception as fault:  # a broken file can raise anything in the reader of its kind
        from skipway.deploy.serve.image_limits import unreadable

        return {"status": 422, "sentence": unreadable(task.name, fault).sentence}, b""
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"shape": pixels.values.shape, "size": pixels.size}, pixels.values.tobytes()


def serve(connection: socket.socket) -> None:
    """Decode what comes until the other end is closed."""
    connection.sendall(READY)
    while True:
        task_length, image_length = LENGTHS.unpack(exactly(connection, LENGTHS.size))
        task: DecodeTask = pickle.loads(exactly(connection, task_length))  # from the server itself
        head, pixels = answer(task, exactly(connection, image_length))
        text = json.dumps(head).encode()
        connection.sendall(LENGTHS.pack(len(text), len(pixels)) + text)
        connection.sendall(pixels)


def prepare() -> None:
    """Import what decoding needs and register every format; who calls `main` has imported the tasks."""
    from PIL import Image

    from skipway.data import heif

    if torch := sys.modules.get("torch"):  # where the tasks need it
        torch.set_num_threads(1)
    Image.init()
    heif.register()
    heif.register_jxl()


def main(descriptor: int) -> None:
    """Make a copy for each socket that comes over the socket `descriptor`, until its other end is closed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server ends its processes when it has answered
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # copies that ended are not kept
    prepare()
    control = socket.socket(fileno=descriptor)
    while True:
        data, (*descriptors,), _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            with suppress(EOFError, OSError):
                serve(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])
