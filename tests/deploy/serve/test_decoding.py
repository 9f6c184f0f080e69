"""Images that might take too long are decoded in processes: these end in time, are replaced, and are seen."""

import asyncio
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import slow_decoders
from served import picture, strict
from starlette.testclient import TestClient

from skipway.data.image_headers import read_header
from skipway.data.preprocess import FittedImage
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.decode_pool import DecodePool
from skipway.deploy.serve.decode_process import DecodeTask, Pixels
from skipway.deploy.serve.image_limits import check_header, is_quick
from skipway.deploy.serve.limits import Limits, RefusedError, decode_memory

JPEG = {"Content-Type": "image/jpeg"}
AGES = 120.0  # seconds that processes may need to start on a busy machine
ClientOf = Callable[..., TestClient]


UsePool = Callable[[Callable[[DecodePool], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def pooled() -> Iterator[UsePool]:
    """pooled(use): have `use` done with a pool of one process, which is ready, in the event loop of all tests here."""

    async def begun() -> DecodePool:
        pool = DecodePool(1)
        pool.begin()
        async with asyncio.timeout(AGES):
            while pool.idle.empty():
                await asyncio.sleep(0.05)
        return pool

    with asyncio.Runner() as runner:
        pool = runner.run(begun())

        async def used(use: Callable[[DecodePool], Awaitable[None]]) -> None:
            await use(pool)

        yield lambda use: runner.run(used(use))
        runner.run(pool.close())


def task(decode: Callable[[bytes], Pixels], seconds: float = 60.0, memory: int = 1 << 28) -> DecodeTask:
    return DecodeTask(decode, "a.jpg", seconds, memory)


async def refused(work: Awaitable[Pixels]) -> RefusedError:
    with pytest.raises(RefusedError) as fault:
        await work
    return fault.value


def test_a_process_that_takes_too_long_crashes_or_wants_too_much_is_its_images_fault_alone(
    pooled: UsePool,
) -> None:
    async def use(pool: DecodePool) -> None:
        loop = asyncio.get_running_loop()
        ages = loop.time() + AGES
        first = await pool.run(task(slow_decoders.length), b"x" * 300_000, ages)
        assert first.values.tobytes() == (300_000).to_bytes(4, "big")
        assert first.size == (1, 4)
        greedy = await refused(pool.run(task(slow_decoders.greedy, memory=64 << 20), b"x" * 200, ages))
        assert (greedy.status, greedy.sentence[:23]) == (422, "a.jpg needs more than 6")
        assert len((await pool.run(task(slow_decoders.greedy, memory=64 << 20), b"x" * 20, ages)).values) == 4
        crashed = await refused(pool.run(task(slow_decoders.crashing), b"x", ages))
        assert (crashed.status, "its decoder crashed" in crashed.sentence) == (422, True)
        assert (await pool.run(task(slow_decoders.length), b"xy", ages)).values[-1] == 2  # by another process
        start = loop.time()
        slow = await refused(pool.run(task(slow_decoders.sleeping, seconds=0.5), b"x", ages))
        assert (slow.status, "takes longer than 0.5 seconds" in slow.sentence) == (422, True)
        assert loop.time() - start < 10
        assert (await pool.run(task(slow_decoders.length), b"xyz", ages)).values[-1] == 3

    pooled(use)


def test_who_waits_for_a_process_too_long_is_told_to_ask_again_and_one_given_up_ends_all_the_same(
    pooled: UsePool,
) -> None:
    async def use(pool: DecodePool) -> None:
        loop = asyncio.get_running_loop()
        given_up = asyncio.create_task(pool.run(task(slow_decoders.sleeping, seconds=1.0), b"x", loop.time() + AGES))
        await asyncio.sleep(0.1)
        assert len(pool.begun) == 1
        late = await refused(pool.run(task(slow_decoders.length), b"x", loop.time() + 0.1))
        assert late.status == 429
        given_up.cancel()
        assert len(pool.begun) == 1  # it is still at work, and seen
        assert (await pool.run(task(slow_decoders.length), b"x", loop.time() + AGES)).values[-1] == 1
        assert not pool.begun

    pooled(use)


def test_closing_does_not_wait_for_what_is_being_decoded() -> None:
    async def main() -> float:
        pool, loop = DecodePool(1), asyncio.get_running_loop()
        work = asyncio.create_task(pool.run(task(slow_decoders.sleeping, seconds=600), b"x", loop.time() + AGES))
        while not pool.begun:
            await asyncio.sleep(0.05)
        assert pool.fork_server is not None
        start = loop.time()
        await pool.close()
        await asyncio.gather(work, return_exceptions=True)
        return loop.time() - start

    assert asyncio.run(main()) < 5


def test_a_pool_that_cannot_start_says_busy_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool, loop = DecodePool(1), asyncio.get_running_loop()
        monkeypatch.setattr("sys.executable", "/no/such/python")
        monkeypatch.setattr("skipway.deploy.serve.decode_pool.BACK_OFF", 0.05)
        assert (await refused(pool.run(task(slow_decoders.length), b"x", loop.time() + 0.2))).status == 429
        monkeypatch.undo()
        assert (await pool.run(task(slow_decoders.length), b"x", loop.time() + AGES)).values[-1] == 1
        await pool.close()

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------------------------------
# Which images, and what the service makes of it


def lying_png(side: int) -> bytes:
    """A PNG of black pixels, `side` of them a side, in a thousandth of the bytes."""
    parts = [b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)]
    parts += [b"IDAT" + zlib.compress(bytes(side * (side + 1))), b"IEND"]
    whole = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def test_ordinary_images_are_quick_and_large_or_strange_ones_are_not() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        assert is_quick(read_header(picture(kind=kind))), kind
    assert is_quick(read_header(picture(1000, 800, progressive=True)))
    assert not is_quick(read_header(picture(2000, 1000, progressive=True)))  # 10 scans of 2 million pixels
    assert not is_quick(read_header(picture(kind="AVIF")))  # its first bytes do not say how large it is
    assert is_quick(read_header(lying_png(4000))) and not is_quick(read_header(lying_png(4001)))


def test_pixels_and_scans_are_bounded_together() -> None:
    content = picture(100, 100, progressive=True)
    last = content[content.rfind(b"\xff\xda") : -2]
    many = content[:-2] + last * (32 - read_header(content).scans) + content[-2:]
    check_header(many, "a.jpg", Limits(scans=32, scanned=320_000))
    for limits in (Limits(scans=31), Limits(scanned=319_999)):
        with pytest.raises(RefusedError, match="32 scans"):
            check_header(many, "a.jpg", limits)


def test_an_image_may_take_memory_in_proportion_to_its_pixels() -> None:
    assert decode_memory(40_000_000) - decode_memory(0) == 32 * 40_000_000


def test_explanations_of_images_that_go_to_a_process_are_those_of_a_thread(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture(300, 200, kind="PNG")
    with client_of(strict(latency=AGES, answer_seconds=AGES)) as client:
        paths = ("/v1/predict", "/v1/explain?class=Apfel")
        in_thread = [client.post(path, content=content, headers=JPEG) for path in paths]
        monkeypatch.setattr("skipway.deploy.serve.image_limits.QUICK_PIXELS", 0)
        in_process = [client.post(path, content=content, headers=JPEG) for path in paths]
    assert [answer.status_code for answer in in_thread + in_process] == [200] * 4
    assert in_thread[0].json()["images"] == in_process[0].json()["images"]
    assert in_thread[1].content == in_process[1].content


class Blocked(BundleBackend):
    """A backend whose decoding waits to be let."""

    def __init__(self, real: BundleBackend) -> None:
        self.__dict__ |= real.__dict__
        self.let = threading.Event()

    def open(self, content: bytes, name: str) -> FittedImage:
        self.let.wait(60)
        return super().open(content, name)


def test_readiness_knows_threads_that_decode_for_too_long(client_of: ClientOf, answerer: BundleBackend) -> None:
    blocked = Blocked(answerer)
    with client_of(strict(latency=1.0, answer_seconds=2.0), answerer=blocked) as client:
        assert client.get("/readyz").status_code == 200
        try:
            with ThreadPoolExecutor(2) as threads:
                asked = [
                    threads.submit(client.post, "/v1/predict", content=picture(seed=seed), headers=JPEG)
                    for seed in (1, 2)
                ]
                until = time.monotonic() + 30
                while client.get("/readyz").status_code == 200 and time.monotonic() < until:
                    time.sleep(0.05)
                assert client.get("/readyz").status_code == 503
                assert [one.result().status_code for one in asked] == [504, 504]
                assert client.get("/readyz").status_code == 503  # given up, and still decoding
        finally:
            blocked.let.set()
        until = time.monotonic() + 30
        while client.get("/readyz").status_code == 503 and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get("/readyz").status_code == 200


def test_what_comes_back_from_a_process_is_not_trusted() -> None:
    from skipway.deploy.serve.decode_pool import exchange
    from skipway.deploy.serve.decode_process import LENGTHS

    async def answered(answer: bytes) -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(answer)
        reader.feed_eof()

        class Writer:
            def write(self, data: bytes) -> None: ...
            async def drain(self) -> None: ...

        return await exchange((reader, Writer()), task(slow_decoders.length), b"")  # type: ignore[arg-type]

    head = b'{"shape": [1, 2], "size": [3, 4]}'
    good = asyncio.run(answered(LENGTHS.pack(len(head), 2) + head + b"ab"))
    assert isinstance(good, Pixels)
    assert np.array_equal(good.values, [[97, 98]])
    for lengths in ((len(head), 3), (len(head), 1 << 30), (1 << 20, 2)):
        with pytest.raises(ValueError, match="an answer of"):
            asyncio.run(answered(LENGTHS.pack(*lengths) + head + b"abc"))
