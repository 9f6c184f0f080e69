"""The server under load, as `benchmarks/serve.py` measures it for longer, and the command's processes."""

import asyncio
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import listening, picture, strict

from benchmarks.serve import CLIENTS, Address, Tally, in_turn, request_of, serving

REQUESTS = [request_of(picture(300, 200, seed)) for seed in range(4)]


def address_of(url: str) -> Address:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def asked(address: Address, clients: int, count: int) -> Counter[int]:
    return asyncio.run(in_turn(address, REQUESTS, clients, count)).statuses


def resident() -> int:
    """KiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 10


def test_under_too_much_load_all_get_an_answer_or_429_and_memory_stays(fruit: Path) -> None:
    with listening(fruit, strict(queue=6, latency=60.0, body_seconds=60.0, head_seconds=60.0)) as url:
        assert set(asked(address_of(url), 40, 300)) == {200, 429}
        before = resident()
        for _ in range(3):
            assert set(asked(address_of(url), 40, 400)) == {200, 429}
        assert resident() - before < 30_000
        assert asked(address_of(url), 1, 3) == {200: 3}  # it is itself again at once


def test_when_it_ends_every_request_that_was_accepted_is_answered(fruit: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with listening(fruit, strict(latency=60.0, body_seconds=60.0, head_seconds=60.0)) as url:
            address = address_of(url)
            asking = threads.submit(asyncio.run, in_turn(address, REQUESTS, CLIENTS, 10**9))
            assert asked(address, 1, 20) == {200: 20}
        tally: Tally = asking.result(60)
    assert set(tally.statuses) == {200, 0}
    assert tally.statuses[0] == CLIENTS  # each was told that its connection ends, and refused when it came again


def test_workers_share_the_port_count_together_and_end_well(
    fruit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ("--device", "cpu", "--workers", "2", "--max-latency-ms", "60000")
    with serving(fruit, *options) as server:
        assert asked(server.address, CLIENTS, 60) == {200: 60}

        async def counts() -> str:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = (await reader.read()).decode()
            writer.close()
            await writer.wait_closed()
            return text

        text = asyncio.run(counts())
        assert 'skipway_images_total{outcome="answered"} 60.0' in text
        assert "skipway_images_inside 0.0" in text

        async def ended() -> Tally:
            asking = asyncio.create_task(in_turn(server.address, REQUESTS, CLIENTS, 10**9))
            await asyncio.sleep(0.3)
            os.kill(server.process.pid, signal.SIGTERM)
            return await asking

        tally = asyncio.run(ended())
        assert server.process.wait(60) == 0
    assert set(tally.statuses) == {200, 0}
    assert tally.statuses[0] == CLIENTS
