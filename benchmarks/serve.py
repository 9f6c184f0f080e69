"""`skipway serve` under load, from a process of its own on loopback. results/serve.json

    python -m benchmarks.serve RUN IMAGES [--engine auto] [--rounds 5] [--seconds 60] [--requests 20000]

RUN is a bundle, IMAGES a folder of photographs. Four measurements:
throughput  16 clients that ask again as soon as they are answered; in turns with `Predictor.predict` on the same images
overload    twice that rate offered for a minute whatever the answers: their statuses, and how long accepted ones took
memory      of the server's process over many requests
ending      SIGTERM under load: what became of every request
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import save
from skipway.deploy.serve.limits import Limits

CLIENTS = 16
MOST_CONNECTIONS = 512
PREDICT = """
import sys, time
from pathlib import Path
from skipway.deploy.predict.predictor import Predictor
run, engine, count, *images = sys.argv[1:]
contents = [Path(image).read_bytes() for image in images]
predictor = Predictor(run, engine=engine)
asked = [contents[i % len(contents)] for i in range(int(count))]
list(predictor.predict(asked[:64]))
start = time.perf_counter()
answers = list(predictor.predict(asked))
print(len(answers) / (time.perf_counter() - start))
assert not any(answer.error for answer in answers)
"""


Address = tuple[str, int]


@dataclass
class Server:
    """`skipway serve` in a process of its own."""

    process: subprocess.Popen[str]
    address: Address

    def memory(self) -> int:
        """Bytes of its memory that are in use, as Linux counts them; without its workers."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return 1024 * int(found[1]) if found else 0

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextmanager
def serving(run: Path, *options: str) -> Iterator[Server]:
    """A server of `run` on a free port, once it answers; ended afterwards."""
    command = [sys.executable, "-m", "skipway", "serve", str(run), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"{' '.join(command)} did not say where it listens")
        server = Server(process, (found[1], int(found[2])))
        asyncio.run(until_ready(server.address))
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def until_ready(address: Address) -> None:
    connection = Connection(address)
    async with asyncio.timeout(300):
        while (await connection.ask(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")) != 200:
            await asyncio.sleep(0.2)
    connection.close()


def request_of(image: bytes) -> bytes:
    """The bytes of a request about one image."""
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: "
    return f"{head}{len(image)}\r\n\r\n".encode() + image


class Connection:
    """An HTTP connection as cheap as can be: the client shares the processor with the server."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 when there was no connection to be had; -1 when a request was sent in vain."""
        if self.streams is not None and self.streams[0].at_eof():
            self.close()  # the server ends connections that were idle for long
        if self.streams is None:
            try:
                self.streams = await asyncio.open_connection(*self.address)
            except OSError:
                return 0
        reader, writer = self.streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return -1
        if b"connection: close" in head.lower():
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


@dataclass
class Tally:
    """Answers by status, and the seconds of those that were 200."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(seconds)

    def summary(self) -> dict[str, Any]:
        cuts = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p50_s": round(cuts[49], 4),
            "p99_s": round(cuts[98], 4),
            "longest_s": round(max(self.seconds, default=0.0), 4),
        }


async def in_turn(address: Address, requests: list[bytes], clients: int, count: int) -> Tally:
    """`clients` who each ask as soon as they are answered, until `count` have been asked or no one is to be reached."""
    tally, numbers = Tally(), iter(range(count))

    async def client() -> None:
        connection = Connection(address)
        for number in numbers:
            start = time.perf_counter()
            status = await connection.ask(requests[number % len(requests)])
            tally.add(status, time.perf_counter() - start)
            if status == 0:
                break
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


async def offered(address: Address, requests: list[bytes], rate: float, seconds: float) -> Tally:
    """`rate` requests a second whatever becomes of them; seconds count from when each was due."""
    tally, idle = Tally(), [Connection(address) for _ in range(MOST_CONNECTIONS)]

    async def one(number: int, due: float) -> None:
        connection = idle.pop() if idle else Connection(address)
        status = await connection.ask(requests[number % len(requests)])
        tally.add(status, time.perf_counter() - due)
        if len(idle) < MOST_CONNECTIONS:
            idle.append(connection)
        else:
            connection.close()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(number, due))
    for connection in idle:
        connection.close()
    return tally


def predict_rate(run: Path, engine: str, images: list[Path], count: int) -> float:
    """Images a second of `Predictor.predict`, in a process of its own, without loading."""
    command = [sys.executable, "-c", PREDICT, str(run), engine, str(count), *map(str, images)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def throughput(run: Path, engine: str, images: list[Path], rounds: int, count: int) -> dict[str, Any]:
    """The server's rate with CLIENTS clients beside predict's, in turns."""
    requests = [request_of(image.read_bytes()) for image in images]
    served, predicted = [], []
    with serving(run, "--engine", engine) as server:
        asyncio.run(in_turn(server.address, requests, CLIENTS, count // 4))
        for _ in range(rounds):
            predicted.append(predict_rate(run, engine, images, count))
            start = time.perf_counter()
            tally = asyncio.run(in_turn(server.address, requests, CLIENTS, count))
            served.append(count / (time.perf_counter() - start))
            assert set(tally.statuses) == {200}, tally.statuses
        server.end()
    ratios = [s / p for s, p in zip(served, predicted, strict=True)]
    return {
        "clients": CLIENTS,
        "server_images_per_s": round(statistics.median(served), 1),
        "predict_images_per_s": round(statistics.median(predicted), 1),
        "server_over_predict": round(statistics.median(ratios), 3),
        "all": [round(ratio, 3) for ratio in ratios],
    }


def overload(run: Path, engine: str, images: list[Path], rate: float, seconds: float) -> dict[str, Any]:
    """`rate` images a second offered for `seconds`."""
    requests = [request_of(image.read_bytes()) for image in images]
    with serving(run, "--engine", engine) as server:
        asyncio.run(in_turn(server.address, requests, CLIENTS, 200))
        tally = asyncio.run(offered(server.address, requests, rate, seconds))
        server.end()
    accepted = len(tally.seconds) / seconds
    return {
        "offered_per_s": round(rate, 1),
        "seconds": seconds,
        "accepted_per_s": round(accepted, 1),
        "bound_s": Limits.latency,
        **tally.summary(),
    }


def memory(run: Path, engine: str, images: list[Path], count: int) -> dict[str, Any]:
    """Megabytes of the server's process after a tenth of `count` requests and after each tenth more."""
    requests = [request_of(image.read_bytes()) for image in images]
    found = []
    with serving(run, "--engine", engine) as server:
        for _ in range(10):
            asyncio.run(in_turn(server.address, requests, CLIENTS, count // 10))
            found.append(round(server.memory() / 1e6, 1))
        server.end()
    return {"requests": count, "mb_after_each_tenth": found, "grown_mb": round(found[-1] - found[0], 1)}


def ending(run: Path, engine: str, images: list[Path], after: float, *options: str) -> dict[str, Any]:
    """SIGTERM to a server with CLIENTS clients: statuses, 0 for connections refused, -1 for requests lost."""
    requests = [request_of(image.read_bytes()) for image in images]

    async def terminated(server: Server) -> Tally:
        asking = asyncio.create_task(in_turn(server.address, requests, CLIENTS, sys.maxsize))
        await asyncio.sleep(after)
        os.kill(server.process.pid, signal.SIGTERM)
        return await asking

    with serving(run, "--engine", engine, *options) as server:
        tally = asyncio.run(terminated(server))
        code = server.process.wait(120)
    return {"exit_code": code, "lost": tally.statuses[-1], **tally.summary()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000, help="images in a round")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=20_000)
    given = parser.parse_args()
    images = sorted(file for file in given.images.iterdir() if file.suffix.lower() in {".jpg", ".jpeg"})
    card = json.loads((given.run / "card.json").read_bytes())
    rates = throughput(given.run, given.engine, images, given.rounds, given.count)
    save(
        "serve",
        {
            "what": "skipway serve on loopback, clients in another process on the same machine",
            "model": card["network"]["name"],
            "pixels": card["preprocessing"]["size"],
            "engine": given.engine,
            "photographs": len(images),
            "throughput": rates,
            "overload": overload(given.run, given.engine, images, 2 * rates["server_images_per_s"], given.seconds),
            "memory": memory(given.run, given.engine, images, given.requests),
            "ending": [ending(given.run, given.engine, images, 2.0) for _ in range(5)],
            "ending_two_workers": [ending(given.run, given.engine, images, 2.0, "--workers", "2") for _ in range(3)],
        },
    )


if __name__ == "__main__":
    main()
