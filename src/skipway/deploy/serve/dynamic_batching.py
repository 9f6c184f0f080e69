"""Images of several requests through the network together, no later than each may be.

As many threads compute as the engine wants, mostly one. While they do, images wait in a queue; one that is free takes
what is there. A batch that is not full waits a moment for others, but only while some are on their way.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from skipway.deploy.serve.limits import Limits, RefusedError, busy
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.model_backend import ModelBackend, Outputs

T = TypeVar("T")
# Shares of the latency allowed. A request is accepted when it should be answered in half of it, and begun unless most
# of it has gone by: what is left is for the estimate's error, and for writing the answer.
ACCEPTED, BEGUN = 0.5, 0.8


@dataclass
class Waiting:
    """An image in the queue; since: the loop's time when its request had arrived whole."""

    image: Any
    since: float
    outputs: asyncio.Future[Outputs]


def smoothed(before: float, now: float) -> float:
    """A running mean that forgets; the first value as it is."""
    return 0.8 * before + 0.2 * now if before else now


class Batcher:
    """Batches for `answerer`'s engine."""

    def __init__(self, answerer: ModelBackend, limits: Limits, metrics: Metrics) -> None:
        self.compute, self.stacked = answerer.outputs, answerer.stacked
        self.limits, self.metrics = limits, metrics
        self.most = min(limits.batch or answerer.batch, answerer.batch)
        self.depth = answerer.depth
        self.inside = 0  # images accepted and not yet answered
        self.pace = 0.0  # seconds of a batch, smoothed
        self.each = 0.0  # seconds from one image's answer to the next when there is always another; smoothed
        self.begun: list[float] = []  # the loop's times since which batches are being computed
        self.waiting: asyncio.Queue[Waiting] = asyncio.Queue()
        self.threads = ThreadPoolExecutor(self.depth, "network")

    def expected(self) -> float:
        """Seconds until what is inside now will have been answered, and one image more."""
        return max(self.pace, (self.inside + 1) * self.each)

    def require_room(self, images: int = 1) -> None:
        """Raise RefusedError (429) unless `images` more would be answered in time."""
        late = self.inside >= self.most * self.depth and self.expected() > ACCEPTED * self.limits.latency
        full = self.inside > 0 and self.inside + images > self.limits.queue
        if late or full:
            raise busy(self.expected())

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """Place for `images` until they are answered. Raises RefusedError (429)."""
        self.require_room(images)
        self.inside += images
        self.metrics.inside.inc(images)
        loop = asyncio.get_running_loop()
        before, start = self.inside, loop.time()
        try:
            yield
            if before >= self.most * self.depth:  # with fewer, the network was not busy all the time
                self.each = smoothed(self.each, (loop.time() - start) / before)
        finally:
            self.inside -= images
            self.metrics.inside.dec(images)

    def require_time(self, since: float, now: float) -> None:
        """Raise RefusedError (429) for a request that has waited so long that its answer would come too late."""
        if now > self.latest(since):
            raise busy(self.expected())

    def latest(self, since: float) -> float:
        """The loop's time until which a request that came at `since` may be begun."""
        return since + max(BEGUN * self.limits.latency - self.pace, self.pace)

    async def outputs(self, image: Any, since: float) -> Outputs:
        """The outputs, without the first dimension, of one uint8 image (C, H, W).

        Raises RefusedError (429) when its turn came too late.
        """
        waiting = Waiting(image, since, asyncio.get_running_loop().create_future())
        self.waiting.put_nowait(waiting)
        return await waiting.outputs

    async def alone(self, task: Callable[[], T], since: float) -> T:
        """What `task` gives, run in a network's thread between two batches."""

        def begin() -> T:
            self.require_time(since, loop.time())
            return task()

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, begin)

    def stuck(self, now: float) -> bool:
        """Whether a batch takes longer than any answer may."""
        return any(now - start > self.limits.answer_seconds for start in self.begun)

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        free = asyncio.Semaphore(self.depth)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await free.acquire()
                task = tasks.create_task(self.answer(await self.gather()))
                task.add_done_callback(lambda _: free.release())

    async def gather(self) -> list[Waiting]:
        """The next batch: at least one image, and whatever comes within `patience` while any is on its way."""
        batch = [await self.waiting.get()]
        loop = asyncio.get_running_loop()
        until = loop.time() + (self.pace if self.limits.patience is None else self.limits.patience)
        while len(batch) < self.most:
            left = until - loop.time()
            if not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            elif left <= 0 or self.inside <= len(batch):
                break
            else:
                try:
                    async with asyncio.timeout(left):
                        batch.append(await self.waiting.get())
                except TimeoutError:
                    break
        return batch

    async def answer(self, batch: list[Waiting]) -> None:
        """Compute the outputs of those of `batch` that somebody still waits for, and hand them out."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        batch = [waiting for waiting in batch if self.in_time(waiting, start)]
        if not batch:
            return
        self.begun.append(start)
        try:
            outputs = await loop.run_in_executor(self.threads, self.computed, [waiting.image for waiting in batch])
        except Exception as fault:  # whatever the network raised is its requests' answer; the next batch may do
            for waiting in batch:
                if not waiting.outputs.done():
                    waiting.outputs.set_exception(fault)
            return
        finally:
            self.begun.remove(start)
        seconds = loop.time() - start
        self.pace = smoothed(self.pace, seconds)
        self.metrics.batch.observe(len(batch))
        self.metrics.stage.labels("network").observe(seconds)
        for waiting, row in zip(batch, zip(*outputs, strict=True), strict=True):
            self.metrics.stage.labels("queue").observe(start - waiting.since)
            if not waiting.outputs.done():
                waiting.outputs.set_result(row)

    def in_time(self, waiting: Waiting, now: float) -> bool:
        """Whether to compute this one; one that waited too long is told so here."""
        if waiting.outputs.done():  # its request was given up
            return False
        try:
            self.require_time(waiting.since, now)
        except RefusedError as late:
            waiting.outputs.set_exception(late)
            return False
        return True

    def computed(self, images: list[Any]) -> Outputs:
        return self.compute(self.stacked(images))
