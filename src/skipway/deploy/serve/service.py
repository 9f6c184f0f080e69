"""From uploaded images to answers: decoding in a few threads, or in processes where it might take long, the network in
one thread, and refusals where it is too much.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from skipway.data.image_headers import Header
from skipway.deploy.serve.decode_pool import FORKS, DecodePool
from skipway.deploy.serve.decode_process import DecodeTask, Pixels
from skipway.deploy.serve.decode_tasks import Opening
from skipway.deploy.serve.dynamic_batching import Batcher
from skipway.deploy.serve.image_limits import check_header, check_opened, is_quick, unreadable
from skipway.deploy.serve.limits import Held, Limits, RefusedError, decode_memory
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.model_backend import Fitted, ModelBackend, PredictOptions
from skipway.deploy.serve.request_body import Upload
from skipway.errors import DataError

T = TypeVar("T")


class Service:
    """One process's work; `decoders` threads decode, and as many processes what is not quick by its header. It is
    started, used and stopped within one event loop. eager: the processes are started with it, not when first needed."""

    def __init__(
        self, answerer: ModelBackend, limits: Limits, metrics: Metrics, decoders: int = 2, eager: bool = False
    ) -> None:
        self.answerer, self.limits, self.metrics = answerer, limits, metrics
        self.held = Held(limits.held_bytes)
        self.batcher = Batcher(answerer, limits, metrics)
        self.decoders = ThreadPoolExecutor(decoders, "decode", answerer.begin_thread)
        self.threads, self.eager = decoders, eager
        self.processes = DecodePool(decoders, answerer.modules)
        self.begun: list[float] = []  # the loop's times since which threads decode
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compute two batches, the second of which tells how long one takes, and begin to answer."""
        if self.eager:
            self.processes.begin()
        blank, loop = self.answerer.blank(), asyncio.get_running_loop()
        for _ in range(2):
            began = loop.time()
            await loop.run_in_executor(self.batcher.threads, self.batcher.computed, [blank] * self.batcher.most)
            self.batcher.pace = loop.time() - began
        self.batcher.each = self.batcher.pace / (self.batcher.most * self.batcher.depth)
        self.task = asyncio.create_task(self.batcher.run())

    async def stop(self) -> None:
        """End the processes and threads; what was accepted has been answered by then."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        await self.processes.close()
        self.batcher.threads.shutdown()
        self.decoders.shutdown()

    def ready(self) -> bool:
        """Whether images would be answered now."""
        now = asyncio.get_running_loop().time()
        return self.task is not None and not self.task.done() and not self.batcher.stuck(now) and self.decodes(now)

    def decodes(self, now: float) -> bool:
        """Whether no decoding takes longer than any answer may, and not every thread longer than the latency."""
        oldest = min([*self.begun, *self.processes.begun], default=now)
        blocked = [since for since in self.begun if now - since > self.limits.latency]
        return now - oldest <= self.limits.answer_seconds and len(blocked) < self.threads

    async def decoded(self, task: Callable[[], T], name: str, since: float) -> T:
        """What `task` gives, run in a decoding thread. Raises RefusedError: 422 for an image that it cannot read."""
        loop = asyncio.get_running_loop()

        def begin() -> T:
            started = loop.time()
            self.batcher.require_time(since, started)
            self.begun.append(started)
            try:
                result = task()
            except RefusedError:
                raise
            except DataError as fault:
                raise RefusedError(422, str(fault)) from None
            except Exception as fault:  # a broken file can raise anything in the reader of its kind
                raise unreadable(name, fault) from None
            finally:
                self.begun.remove(started)
            self.metrics.stage.labels("decode").observe(loop.time() - started)
            return result

        return await loop.run_in_executor(self.decoders, begin)

    async def in_process(self, task: Callable[[bytes], Pixels], upload: Upload, header: Header, since: float) -> Pixels:
        """What `task` gives, run in a decoding process. Raises RefusedError."""
        memory = decode_memory(header.pixels or self.limits.pixels)
        work = DecodeTask(task, upload.name, self.limits.latency, memory)
        loop = asyncio.get_running_loop()
        pixels = await self.processes.run(work, upload.content, self.batcher.latest(since))
        self.metrics.stage.labels("decode").observe(loop.time() - since)
        return pixels

    def header_of(self, upload: Upload) -> Header | None:
        """None for an image that a thread may decode; else its header, which a process is given memory by."""
        header = check_header(upload.content, upload.name, self.limits)
        return None if is_quick(header) or not FORKS else header

    async def open(self, upload: Upload, since: float) -> Fitted:
        """An upload as the network's input. Raises RefusedError."""

        def quick() -> Fitted | Header:
            header = self.header_of(upload)
            if header is not None:
                return header
            check_opened(upload.content, upload.name, self.limits)
            return self.answerer.open(upload.content, upload.name)

        fitted = await self.decoded(quick, upload.name, since)
        if not isinstance(fitted, Header):
            return fitted
        task = Opening(upload.name, self.answerer.preprocessing, self.limits)
        pixels = await self.in_process(task, upload, fitted, since)
        return self.answerer.fitted(pixels)

    async def show(self, upload: Upload, since: float) -> np.ndarray:
        """An upload that was opened, as an image to look at. Raises RefusedError."""
        from skipway.deploy.serve.heatmap import Showing, photograph  # torch, which exports do without

        side = self.answerer.preprocessing

        def quick() -> np.ndarray | Header:
            header = self.header_of(upload)
            return photograph(upload.content, upload.name, side.background) if header is None else header

        photo = await self.decoded(quick, upload.name, since)
        if isinstance(photo, np.ndarray):
            return photo
        return (await self.in_process(Showing(upload.name, side.background), upload, photo, since)).values

    async def answer(self, upload: Upload, options: PredictOptions, since: float) -> dict[str, Any]:
        """{name, the task's fields, error}; of a task with classes the `top` most likely."""
        fitted = await self.open(upload, since)
        outputs = await self.batcher.outputs(fitted.image, since)
        # in a thread: masks of a large photograph take longer than others should wait
        loop = asyncio.get_running_loop()
        row = await loop.run_in_executor(self.decoders, self.answerer.row, outputs, fitted.size, options)
        self.metrics.images.labels("answered").inc()
        return {"name": upload.name, **row, "error": ""}

    async def predict(self, uploads: list[Upload], options: PredictOptions) -> dict[str, Any]:
        """An answer for each upload, in order, and the seconds that all took.

        One that cannot be read has an `error` in place of a prediction; when none can, 422 says why of the first.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        with self.batcher.room(len(uploads)):
            async with self.in_time():
                tasks = (self.answer(upload, options, since) for upload in uploads)
                found = await asyncio.gather(*tasks, return_exceptions=True)
        answers: list[dict[str, Any]] = []
        for upload, result in zip(uploads, found, strict=True):
            if isinstance(result, RefusedError) and result.status == 422:
                self.metrics.images.labels("unreadable").inc()
                answers.append(
                    {"name": upload.name, **self.answerer.row(None, (0, 0), options), "error": result.sentence}
                )
            elif isinstance(result, BaseException):
                raise result
            else:
                answers.append(result)
        if all(answer["error"] for answer in answers):
            raise RefusedError(422, answers[0]["error"])
        return {"images": answers, "seconds": round(loop.time() - since, 6)}

    async def explain(self, upload: Upload, wanted: str | None) -> tuple[bytes, str]:
        """WebP of the upload with what speaks for the class `wanted` (the most likely when None), and that class."""
        classes = self.answerer.classes
        if not classes or not self.answerer.explains:
            raise RefusedError(422, "this network has no classes to explain, or is an export")
        if wanted is not None and wanted not in classes:
            raise RefusedError(422, "there is no class of that name: GET /v1/model names all of them")
        from skipway.deploy.serve import heatmap

        since = asyncio.get_running_loop().time()
        with self.batcher.room(1):
            async with self.in_time():
                image = (await self.open(upload, since)).image
                if wanted is None:
                    target = self.answerer.target(await self.batcher.outputs(image, since))
                else:
                    target = classes.index(wanted)
                heat = await self.batcher.alone(lambda: self.answerer.heat(image, target), since)
                photo, side = await self.show(upload, since), self.answerer.preprocessing
                drawn = await self.decoded(lambda: heatmap.picture(photo, heat, side), upload.name, since)
        self.metrics.images.labels("explained").inc()
        return drawn, classes[target]

    def in_time(self) -> asyncio.Timeout:
        return asyncio.timeout(self.limits.answer_seconds)
