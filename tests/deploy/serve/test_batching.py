"""Requests share batches, none waits for nobody, and what would come too late is refused instead."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from served import picture, strict
from starlette.testclient import TestClient
from torch import Tensor

from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.dynamic_batching import Batcher
from skipway.deploy.serve.limits import Limits, RefusedError
from skipway.deploy.serve.metrics import Metrics
from skipway.tasks.base import Outputs

T = TypeVar("T")
BATCH = 4
JPEG = {"Content-Type": "image/jpeg"}


class Slow(BundleBackend):
    """An answerer whose network computes when it is let, and gives each image's first pixel as its scores."""

    def __init__(self, real: BundleBackend, free: bool = True, depth: int = 1) -> None:
        self.__dict__ |= real.__dict__
        self.batch, self.depth = BATCH, depth
        self.sizes: list[int] = []
        self.let = threading.Semaphore(1000 if free else 0)
        self.together = self.most = 0

    def outputs(self, images: Tensor) -> Outputs:
        self.together += 1
        self.most = max(self.most, self.together)
        self.let.acquire()
        self.sizes.append(len(images))
        self.together -= 1
        return (images[:, 0, 0, :4].float(),)


def numbered(number: int) -> Tensor:
    return torch.full((3, 16, 16), number, dtype=torch.uint8)


def batched(slow: Slow, limits: Limits, use: Callable[[Batcher], Awaitable[T]]) -> T:
    """What `use` gives with a batcher that runs."""

    async def main() -> T:
        batcher = Batcher(slow, limits, Metrics())
        running = asyncio.create_task(batcher.run())
        try:
            return await use(batcher)
        finally:
            running.cancel()
            for _ in range(100):
                slow.let.release()
            batcher.threads.shutdown()

    return asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.001)


@pytest.fixture
def slow(answerer: BundleBackend) -> Slow:
    return Slow(answerer, free=False)


def test_images_that_wait_go_through_the_network_together_and_each_gets_its_own(slow: Slow) -> None:
    async def use(batcher: Batcher) -> list[Outputs]:
        now = asyncio.get_running_loop().time()
        with batcher.room(10):
            asked = [asyncio.create_task(batcher.outputs(numbered(i), now)) for i in range(10)]
            await until(lambda: slow.together == 1)
            for _ in range(10):
                slow.let.release()
            return await asyncio.gather(*asked)

    answers = batched(slow, strict(queue=100, patience=0.05), use)
    assert [int(scores[0]) for (scores,) in answers] == list(range(10))
    assert slow.sizes == [4, 4, 2]


def test_an_image_alone_does_not_wait_for_others(answerer: BundleBackend) -> None:
    async def use(batcher: Batcher) -> None:
        with batcher.room(1):
            async with asyncio.timeout(60):
                await batcher.outputs(numbered(1), asyncio.get_running_loop().time())

    batched(Slow(answerer), strict(patience=1000.0, latency=1000.0), use)


def test_an_image_waits_for_another_that_is_on_its_way(answerer: BundleBackend) -> None:
    async def use(batcher: Batcher) -> None:
        now = asyncio.get_running_loop().time()
        with batcher.room(2):
            first = asyncio.create_task(batcher.outputs(numbered(1), now))
            await asyncio.sleep(0.05)
            assert not first.done()
            await asyncio.gather(first, batcher.outputs(numbered(2), now))

    slow = Slow(answerer)
    batched(slow, strict(patience=1000.0, latency=1000.0), use)
    assert slow.sizes == [2]


def test_patience_ends(answerer: BundleBackend) -> None:
    async def use(batcher: Batcher) -> None:
        with batcher.room(2):
            async with asyncio.timeout(60):
                await batcher.outputs(numbered(1), asyncio.get_running_loop().time())

    slow = Slow(answerer)
    batched(slow, strict(patience=0.01), use)
    assert slow.sizes == [1]


def test_an_engine_of_several_streams_gets_as_many_batches_at_a_time(answerer: BundleBackend) -> None:
    async def use(batcher: Batcher) -> None:
        now = asyncio.get_running_loop().time()
        with batcher.room(12):
            asked = [asyncio.create_task(batcher.outputs(numbered(i), now)) for i in range(12)]
            await until(lambda: slow.together == 2)
            await asyncio.sleep(0.05)
            for _ in range(3):
                slow.let.release()
            await asyncio.gather(*asked)

    slow = Slow(answerer, free=False, depth=2)
    batched(slow, strict(queue=100), use)
    assert slow.most == 2
    assert slow.sizes == [4, 4, 4]


def test_no_more_is_accepted_than_the_queue_holds(slow: Slow) -> None:
    async def use(batcher: Batcher) -> None:
        with batcher.room(3):
            with batcher.room(2), pytest.raises(RefusedError) as refused:
                batcher.require_room()
            assert refused.value.status == 429
            assert int(refused.value.headers["Retry-After"]) >= 1
            batcher.require_room(2)
        assert batcher.inside == 0
        with batcher.room(6):  # a request larger than the queue is taken when there is no other
            pass

    batched(slow, strict(queue=5), use)


def test_no_more_is_accepted_than_can_be_answered_in_time(slow: Slow) -> None:
    async def use(batcher: Batcher) -> None:
        batcher.pace, batcher.each = 0.4, 0.1
        with batcher.room(9):
            batcher.require_room()  # the tenth would be answered after a second, half of what is allowed
            with batcher.room(1), pytest.raises(RefusedError) as refused:
                batcher.require_room()
        assert refused.value.status == 429

    batched(slow, strict(queue=100, latency=2.0), use)


def test_what_waited_too_long_is_refused_and_not_computed(slow: Slow) -> None:
    async def use(batcher: Batcher) -> list[object]:
        now = asyncio.get_running_loop().time()
        with batcher.room(2):
            late = batcher.outputs(numbered(1), now - 5)
            in_time = batcher.outputs(numbered(2), now)
            slow.let.release()
            return await asyncio.gather(late, in_time, return_exceptions=True)

    late, in_time = batched(slow, strict(latency=4.0), use)
    assert isinstance(late, RefusedError)
    assert late.status == 429
    assert isinstance(in_time, tuple)
    assert [len(output) for output in in_time] == [4]
    assert slow.sizes == [1]


def test_a_fault_of_the_network_is_its_requests_alone(
    client_of: Callable[..., TestClient], answerer: BundleBackend
) -> None:
    class Faulty(Slow):
        broken = False

        def outputs(self, images: Tensor) -> Outputs:
            if self.broken:
                raise RuntimeError("secret of the inside")
            return super().outputs(images)

    faulty = Faulty(answerer)
    with client_of(answerer=faulty) as client:
        faulty.broken = True
        failed = client.post("/v1/predict", content=picture(), headers=JPEG)
        assert failed.status_code == 500
        assert "secret" not in failed.text
        assert failed.headers["x-content-type-options"] == "nosniff"
        faulty.broken = False
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 200
        counted = client.get("/metrics").text
    assert 'skipway_requests_total{path="/v1/predict",status="500"} 1.0' in counted
    assert "skipway_images_inside 0.0" in counted


def readiness_becomes(status: int, client: TestClient) -> bool:
    """Whether /readyz answers `status` within half a minute."""
    deadline = time.monotonic() + 30
    while client.get("/readyz").status_code != status and time.monotonic() < deadline:
        time.sleep(0.01)
    return client.get("/readyz").status_code == status


def test_an_answer_that_never_comes_is_given_up(client_of: Callable[..., TestClient], answerer: BundleBackend) -> None:
    hung = Slow(answerer)
    with client_of(strict(answer_seconds=1.0), answerer=hung) as client:
        free, hung.let = hung.let, threading.Semaphore(0)
        try:
            answer = client.post("/v1/predict", content=picture(), headers=JPEG)
            assert answer.status_code == 504
            assert answer.json() == {"detail": "the answer took too long and was given up"}
            assert readiness_becomes(503, client)  # the batch began after the request, by the time of its decoding
        finally:  # whatever was found, the network's thread must end before the server can
            waiting, hung.let = hung.let, free
            waiting.release(1000)
        assert readiness_becomes(200, client)
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 200


def test_too_many_at_once_get_an_answer_or_429(client_of: Callable[..., TestClient], answerer: BundleBackend) -> None:
    hung = Slow(answerer)
    with client_of(strict(queue=6), answerer=hung) as client, ThreadPoolExecutor(20) as threads:
        hung.let = threading.Semaphore(0)

        def ask(number: int) -> int:
            return client.post("/v1/predict", content=picture(seed=number), headers=JPEG).status_code

        asked = [threads.submit(ask, number) for number in range(20)]
        while sum(one.done() for one in asked) < 14:
            time.sleep(0.01)
        for _ in range(20):
            hung.let.release()
        statuses = sorted(one.result() for one in asked)
    assert statuses == [200] * 6 + [429] * 14


def test_the_queue_and_the_network_are_timed_apart_and_batches_are_counted_by_size(slow: Slow) -> None:
    """Three images that came 5 seconds ago wait for the network; each is a time in the queue, the batch one of it."""

    async def use(batcher: Batcher) -> Metrics:
        now = asyncio.get_running_loop().time()
        with batcher.room(3):
            asked = [asyncio.create_task(batcher.outputs(numbered(i), now - 5)) for i in range(3)]
            await until(lambda: slow.together == 1)
            slow.let.release()
            await asyncio.gather(*asked)
        return batcher.metrics

    metrics = batched(slow, strict(queue=100, patience=1000.0, latency=1000.0), use)

    def value(name: str, **labels: str) -> float:
        found = metrics.registry.get_sample_value(name, labels)
        assert found is not None, name
        return found

    assert value("skipway_stage_seconds_count", stage="queue") == 3
    assert 15 <= value("skipway_stage_seconds_sum", stage="queue") < 100
    assert value("skipway_stage_seconds_count", stage="network") == 1
    assert 0 < value("skipway_stage_seconds_sum", stage="network") < 5
    assert (value("skipway_batch_images_count"), value("skipway_batch_images_sum")) == (1, 3)
