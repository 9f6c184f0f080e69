"""`skipway serve` under attack: what a bystander waits, and how long it takes to end. results/serve_attacks.json

    python -m benchmarks.serve_attacks RUN [--before SOURCE] [--megabytes 19] [--seconds 60] [--clients 4]

RUN is a bundle; SOURCE the folder `src` of another version of the package, measured in the same way first. A server in
a process of its own, on loopback, is attacked in each way in turn, by so many clients at once, until all are answered
or the seconds are over. Meanwhile a bystander asks about a small photograph five times a second, each time on a new
connection. At the end the first attack is made once more, and SIGTERM sent in the middle of it.

The bound on the bystander is the latency bound and a second; that on ending is the grace, 25 seconds.
"""

import argparse
import asyncio
import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import save
from skipway.deploy.serve.limits import Limits

FILES = 200  # that the server may open, as `ulimit -n`
IDLE = 300  # connections that say nothing
READERS = 40  # connections that ask and do not read
EVERY = 0.2  # seconds between two questions of the bystander
Address = tuple[str, int]
Attack = Callable[[Address], Awaitable[Counter[int]]]


def encoded(width: int, height: int, kind: str, **options: Any) -> bytes:
    """An image of smooth colours."""
    small = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(stream, kind, **options)
    return stream.getvalue()


def scans_of_multi_picture(count: int) -> bytes:
    """A progressive JPEG of a million pixels with MPF, `count` of its last scan."""
    stream = io.BytesIO()
    one = Image.new("RGB", (1000, 1000), "teal")
    one.save(stream, "MPO", save_all=True, append_images=[one.resize((8, 8))], progressive=True)
    whole = stream.getvalue()
    end = whole.index(b"\xff\xd9")
    last = whole[whole.rindex(b"\xff\xda", 0, end) : end]
    return whole[:end] + last * count + whole[end:]


def scans_of_many_pixels(count: int) -> bytes:
    """A progressive JPEG of 39.7 million pixels with `count` scans."""
    stream = io.BytesIO()
    Image.new("L", (6300, 6300), 128).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * (count - whole.count(b"\xff\xda")) + whole[-2:]


def bodies(size: int) -> dict[str, bytes]:
    """Hostile images of at most `size` bytes."""
    jpeg, png, gif = encoded(40, 30, "JPEG"), encoded(40, 30, "PNG"), encoded(40, 30, "GIF")
    empty = struct.pack(">I", 0) + b"teXt" + struct.pack(">I", zlib.crc32(b"teXt"))
    return {
        "multi_picture_scans": scans_of_multi_picture(size // 8000),
        "many_scans_of_many_pixels": scans_of_many_pixels(56),
        "png_chunks": png[:33] + empty * (size // 12) + png[33:],
        "jpeg_segments": jpeg[:2] + b"\xff\xe5\x00\x02" * (size // 4) + jpeg[2:],
        "jpeg_filling": jpeg[:2] + b"\xff" * size + jpeg[2:],
        "gif_blocks": gif[:-1] + b"!\xfe" + b"\1a" * (size // 2) + b"\0;",
        "large_photograph": encoded(6300, 6300, "JPEG", progressive=True, quality=50),
    }


def request_of(image: bytes) -> bytes:
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image


async def ask(address: Address, request: bytes) -> int:
    """The status of the answer; 0 where there was none."""
    status = 0
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(request)
            await writer.drain()
            status = int((await reader.read(1 << 16))[9:12] or 0)
        finally:
            writer.close()
    return status


def posting(image: bytes, clients: int) -> Attack:
    """`clients` who send `image` at the same time."""

    async def attack(address: Address) -> Counter[int]:
        return Counter(await asyncio.gather(*(ask(address, request_of(image)) for _ in range(clients))))

    return attack


async def keep_silent(address: Address) -> Counter[int]:
    """IDLE connections that say nothing, for fifteen seconds."""
    opened = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(IDLE)), return_exceptions=True)
    await asyncio.sleep(15)
    for one in opened:
        if isinstance(one, tuple):
            one[1].close()
    return Counter()


async def read_nothing(address: Address) -> Counter[int]:
    """READERS connections that ask for pages and read nothing: how many were still open after 30 seconds, under 1."""
    loop, connections = asyncio.get_running_loop(), []
    for _ in range(READERS):
        connection = await loop.run_in_executor(None, socket_of, address)
        connections.append(connection)
    await asyncio.sleep(30)
    still = 0
    for connection in connections:
        with suppress(OSError):
            still += connection.send(b"G") == 1
        connection.close()
    return Counter({1: still})


def socket_of(address: Address) -> Any:
    """A connection with a small window that has asked for 400 pages."""
    import socket

    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(address)
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.send(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
    return connection


async def bystander(address: Address, stop: asyncio.Event) -> tuple[list[float], Counter[int]]:
    """Seconds of each answer to a small photograph, and their statuses."""
    request, seconds, statuses = request_of(encoded(300, 200, "JPEG")), [], Counter[int]()
    while not stop.is_set():
        start = time.perf_counter()
        statuses[await ask(address, request)] += 1
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(EVERY)
    return seconds, statuses


def processor_seconds(process: int) -> float:
    """Of a process and those of its children that it has waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


async def attacked(address: Address, attack: Attack, process: int, longest: float) -> dict[str, Any]:
    """The figures of one attack."""
    stop, before, start = asyncio.Event(), processor_seconds(process), time.perf_counter()
    watching = asyncio.create_task(bystander(address, stop))
    statuses: Counter[int] = Counter()
    with suppress(TimeoutError):
        async with asyncio.timeout(longest):
            statuses = await attack(address)
    took = time.perf_counter() - start
    stop.set()
    seconds, answered = await watching
    return {
        "bystander_longest_s": round(max(seconds), 2),
        "bystander_statuses": {str(status): count for status, count in sorted(answered.items())},
        "attack_s": round(took, 2),
        "attack_statuses": {str(status): count for status, count in sorted(statuses.items())},
        "processor_s": round(processor_seconds(process) - before, 2),
    }


@contextmanager
def serving(run: Path, source: Path) -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """A server by the package in `source`, once it answers; killed afterwards, if it is still there."""
    command = [sys.executable, "-m", "skipway", "serve", str(run), "--port", "0", "--device", "cpu"]

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    environment = os.environ | {"PYTHONPATH": str(source)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=few_files)
    try:
        assert process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"{' '.join(command)} did not say where it listens")
        address = found[1], int(found[2])
        asyncio.run(until_well(address))
        yield process, address
    finally:
        process.kill()
        process.wait()


async def until_well(address: Address) -> None:
    """Return when a small photograph and one that a process decodes are answered."""
    for kind in ("JPEG", "AVIF"):
        async with asyncio.timeout(300):
            while await ask(address, request_of(encoded(40, 30, kind))) != 200:
                await asyncio.sleep(0.5)


def measured(run: Path, source: Path, attacks: dict[str, Attack], longest: float) -> dict[str, Any]:
    """All attacks on one server, and its end in the middle of the first."""
    found: dict[str, Any] = {}
    with serving(run, source) as (process, address):
        for name, attack in attacks.items():
            found[name] = asyncio.run(attacked(address, attack, process.pid, longest))
            print(source, name, found[name], file=sys.stderr, flush=True)
            with suppress(TimeoutError):
                asyncio.run(until_well(address))
        highest = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())

        async def ended() -> float:
            attack = asyncio.create_task(next(iter(attacks.values()))(address))
            await asyncio.sleep(0.5)
            start = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            while process.poll() is None and time.perf_counter() - start < 300:
                await asyncio.sleep(0.05)
            attack.cancel()
            return time.perf_counter() - start

        found["sigterm_to_exit_s"] = round(asyncio.run(ended()), 2)
        found["exit_code"] = process.poll()
        found["highest_memory_mb"] = int(highest[1]) // 1000 if highest else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--megabytes", type=float, default=19.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    images = bodies(round(given.megabytes * 1e6))
    attacks = {name: posting(image, given.clients) for name, image in images.items()}
    attacks |= {"idle_connections": keep_silent, "no_reading": read_nothing}
    present = Path(__file__).parent.parent / "src"
    sources = ({"before": given.before} if given.before else {}) | {"now": present}
    save(
        "serve_attacks",
        {
            "what": "skipway serve on loopback with 200 files, attacked by another process on the same machine",
            "bytes": {name: len(image) for name, image in images.items()},
            "clients": given.clients,
            "bounds": {"bystander_s": Limits.latency + 1, "sigterm_to_exit_s": Limits.grace},
            **{name: measured(given.run, source, attacks, given.seconds) for name, source in sources.items()},
        },
    )


if __name__ == "__main__":
    main()
