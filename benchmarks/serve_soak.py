"""A server for ten minutes with a thousand connections and five thousand requests of all kinds. results/serve_soak.json

    python -m benchmarks.serve_soak RUN [--seconds 600] [--connections 1000] [--requests 5000]

RUN is a bundle. A thousand connections are open all the time: those that the server closes, because they have been
silent for as long as a request's head may take, are opened again. Each asks at times drawn at random; most ask about
photographs, some for what only a process of its own decodes, for heat maps, pages and figures, and some send what is to
be refused. The memory is that of the server and of all its processes; its first minute is compared with its last.
"""

import argparse
import asyncio
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import save
from benchmarks.serve_attacks import encoded
from skipway.deploy.serve.limits import Limits

EVERY = 5.0  # seconds between two looks at the memory
MINUTE = 60.0
REFUSALS = {503: "too many connections, or not ready"}  # of the server's own making that are documented
Address = tuple[str, int]


def request(method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
    """A request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Content-Type: {kind}"] * bool(kind) + [f"Content-Length: {len(body)}"] * bool(body)
    return "\r\n".join([*lines, "", ""]).encode() + body


def several(images: list[bytes]) -> bytes:
    """Images in one body of several parts."""
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return b"".join(head + image + b"\r\n" for image in images) + b"--x--\r\n"


def requests() -> dict[str, tuple[int, bytes, set[int]]]:
    """By what they are: the weight, the request, and the statuses that it may have besides 429."""
    jpeg, png = encoded(300, 200, "JPEG"), encoded(300, 200, "PNG")
    photo = ("POST", "/v1/predict")
    return {
        "photograph": (58, request(*photo, jpeg, "image/jpeg"), {200}),
        "large photograph": (4, request(*photo, encoded(2400, 1600, "JPEG"), "image/jpeg"), {200}),
        "PNG": (8, request(*photo, png, "image/png"), {200}),
        "AVIF, decoded in its own process": (6, request(*photo, encoded(300, 200, "AVIF"), "image/avif"), {200}),
        "four images": (4, request(*photo, several([jpeg] * 4), "multipart/form-data; boundary=x"), {200}),
        "heat map": (2, request("POST", "/v1/explain", jpeg, "image/jpeg"), {200}),
        "page": (2, request("GET", "/"), {200}),
        "card": (3, request("GET", "/v1/model"), {200}),
        "figures": (2, request("GET", "/metrics"), {200}),
        "ready": (2, request("GET", "/readyz"), {200, 503}),
        "no image": (3, request(*photo, os.urandom(5000), "image/jpeg"), {422}),
        "half an image": (2, request(*photo, jpeg[: len(jpeg) // 2], "image/jpeg"), {422}),
        "a million pixels a side": (
            1,
            request(*photo, png[:16] + b"\0\x0f\x42\x40" * 2 + png[24:], "image/png"),
            {422},
        ),
        "no path": (1, request("GET", "/nothing"), {404}),
        "no method": (1, request("DELETE", "/v1/predict"), {405}),
        "no body": (1, request(*photo, b"{}", "application/json"), {415, 422}),
    }


@dataclass
class Tally:
    """What happened. seconds: from a request's last byte to its answer's."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    refused: int = 0  # connections
    open: int = 0
    most: int = 0


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of an answer that is read to its end. Raises OSError or EOFError where the connection ends before."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)content-length: (\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    elif "chunked" in head.lower():
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head[9:12])


async def ask(name: str, made: tuple[int, bytes, set[int]], streams: Any, tally: Tally) -> bool:
    """Ask once; returns whether the connection is still of use."""
    reader, writer = streams
    start = time.perf_counter()
    writer.write(made[1])
    await writer.drain()
    start = time.perf_counter()
    status = await answer(reader)
    tally.seconds.setdefault(name, []).append(time.perf_counter() - start)
    tally.statuses[str(status)] += 1
    if status not in made[2] | {429}:
        tally.strange[f"{name}: {status}"] += 1
    return not reader.at_eof()


async def client(address: Address, due: list[tuple[float, str]], until: float, tally: Tally, kinds: Any) -> None:
    """One connection, opened again whenever it is closed, that asks what is due when it is."""
    await asyncio.sleep(random.uniform(0, 10))
    while (now := time.monotonic()) < until:
        try:
            streams = await asyncio.open_connection(*address)
        except OSError:
            tally.refused += 1
            await asyncio.sleep(1)
            continue
        tally.opened, tally.open = tally.opened + 1, tally.open + 1
        tally.most = max(tally.most, tally.open)
        try:
            alive = True
            while alive and (now := time.monotonic()) < until:
                wait = min(due[0][0] if due else until, until) - now
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, wait)):
                        alive = bool(await streams[0].read(1))  # nothing comes but the end
                if alive and due and due[0][0] <= time.monotonic():
                    alive = await ask(due[0][1], kinds[due[0][1]], streams, tally)
                    due.pop(0)  # one that the server hung up on before it was heard is asked again
        except (OSError, EOFError):
            pass
        finally:
            tally.open -= 1
            streams[1].close()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def memory(pid: int) -> float:
    """Megabytes of a server and all its processes, those that are shared counted once (PSS)."""
    total = 0
    for process in family(pid):
        with suppress(OSError):
            total += int(re.findall(r"(?m)^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text())[0])
    return total / 1000


async def watched(pid: int, until: float, start: float) -> list[tuple[float, float]]:
    """The memory, every few seconds."""
    found = []
    while (now := time.monotonic()) < until:
        found.append((round(now - start, 1), round(memory(pid), 1)))
        await asyncio.sleep(EVERY)
    return found


async def soaked(address: Address, pid: int, given: argparse.Namespace) -> tuple[Tally, list[tuple[float, float]]]:
    """All of it; what is asked first, once each, does not count."""
    chance, kinds, tally = random.Random(given.seed), requests(), Tally()
    warm = Tally()
    for name, made in kinds.items():
        for _ in range(3):
            await ask(name, made, await asyncio.open_connection(*address), warm)
    start = time.monotonic()
    until = start + given.seconds
    names = chance.choices(list(kinds), [made[0] for made in kinds.values()], k=given.requests)
    due: list[list[tuple[float, str]]] = [[] for _ in range(given.connections)]
    for name in names:
        chance.choice(due).append((start + chance.uniform(15, given.seconds - 15), name))
    clients = [client(address, sorted(own), until, tally, kinds) for own in due]
    seen, *_ = await asyncio.gather(watched(pid, until, start), *clients)
    return tally, seen


@contextmanager
def serving(run: Path) -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """A server of `run` as the command line starts it."""
    command = [sys.executable, "-m", "skipway", "serve", str(run), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
            if found is None:
                raise RuntimeError(f"{' '.join(command)} did not say where it listens")
            yield process, (found[1], int(found[2]))
        finally:
            process.kill()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def figures(tally: Tally, seen: list[tuple[float, float]], seconds: float) -> dict[str, Any]:
    """What is kept."""
    every = [one for each in tally.seconds.values() for one in each]
    first = statistics.mean(mb for at, mb in seen if at <= MINUTE)
    last = statistics.mean(mb for at, mb in seen if at >= seconds - MINUTE)
    faults = {status: n for status, n in tally.statuses.items() if status[0] == "5" and int(status) not in REFUSALS}
    return {
        "answered": len(every),
        "statuses": dict(sorted(tally.statuses.items())),
        "undocumented_5xx": sum(faults.values()),
        "strange": dict(tally.strange),
        "p50_s": round(quantile(every, 0.5), 3),
        "p99_s": round(quantile(every, 0.99), 3),
        "longest_s": round(max(every), 3),
        "bound_s": Limits.latency + 1,
        "p99_by_kind_s": {name: round(quantile(each, 0.99), 3) for name, each in sorted(tally.seconds.items())},
        "connections_opened": tally.opened,
        "connections_refused": tally.refused,
        "most_connections": tally.most,
        "memory_first_minute_mb": round(first, 1),
        "memory_last_minute_mb": round(last, 1),
        "memory_growth_percent": round(100 * (last / first - 1), 1),
        "memory_mb": seen,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = os.getloadavg()[0]
    with serving(given.run) as (process, address):
        tally, seen = asyncio.run(soaked(address, process.pid, given))
        process.terminate()
        code = process.wait(Limits.grace + 5)
    measured = {
        "what": "skipway serve, one process, asked by another on the same two cores, beside other programs",
        "seconds": given.seconds,
        "connections": given.connections,
        "requests": given.requests,
        "load_before_and_after": [round(before, 1), round(os.getloadavg()[0], 1)],
        **figures(tally, seen, given.seconds),
        "exit_code": code,
    }
    if given.dry:
        print(measured)
    else:
        save("serve_soak", measured)


if __name__ == "__main__":
    main()
