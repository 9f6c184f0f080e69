"""Requests to a generator: one after another in a thread of its own, each cancelled when its client is gone."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from skipway.deploy.generate.generator import Generator
from skipway.deploy.generate.pictures import image_png
from skipway.deploy.generate.request import GeneratedImage, GenerationRequest
from skipway.deploy.serve.dynamic_batching import smoothed
from skipway.deploy.serve.limits import JSON_BYTES, Held, Limits, RefusedError, busy
from skipway.deploy.serve.metrics import Metrics
from skipway.errors import SkipwayError
from skipway.tasks.generate.sampler import SamplingOptions

QUICK = SamplingOptions(steps=1, solver="euler")


@dataclass(frozen=True)
class Progress:
    """Network evaluations done, each of a whole batch, and how many there are."""

    done: int
    of: int


@dataclass(frozen=True)
class Drawn:
    """An image that is ready, and its PNG."""

    image: GeneratedImage
    png: bytes


Event = Progress | Drawn


class Stopped(Exception):  # noqa: N818 - no error: it ends the drawing of images that nobody waits for
    """Raised between two steps of a generation whose client is gone."""


class Generation:
    """An accepted request. evaluations: of the network, for all images; of: those of whole batches that it takes."""

    def __init__(self, request: GenerationRequest, evaluations: int, of: int) -> None:
        self.request, self.evaluations, self.of = request, evaluations, of
        self.done = 0  # of `of`
        self.begun: float | None = None  # the loop's time when its turn came
        self.moved: float | None = None  # the loop's time of its last step
        self.stopped = threading.Event()
        self.waiting: asyncio.Queue[Event | None] = asyncio.Queue()
        self.job: asyncio.Future[None]

    async def events(self) -> AsyncGenerator[Event, None]:
        """Progress, and images in order as they get ready. Raises what the generation raised, RefusedError (504) where
        it took too long. Leaving it stops the generation."""
        try:
            while (event := await self.waiting.get()) is not None:
                yield event
            await self.job
        finally:
            self.stop()

    def stop(self) -> None:
        """End the generation after the step at hand, or before its first."""
        self.stopped.set()
        if self.begun is None:
            self.job.cancel()


class GenerationService:
    """One process's generator. It is started, used and stopped within one event loop."""

    def __init__(self, generator: Generator, limits: Limits, metrics: Metrics) -> None:
        channels = generator.preprocessing.channels
        if channels > 4:
            raise SkipwayError(
                f"{generator.folder} generates images of {channels} channels, which no PNG holds: use skipway.generate"
            )
        self.answerer, self.metrics = generator, metrics
        self.limits = replace(limits, body_bytes=min(limits.body_bytes, JSON_BYTES))
        self.held = Held(limits.held_bytes)
        self.inside: set[Generation] = set()  # accepted and not yet ended
        self.each = 0.0  # seconds of an evaluation, smoothed
        self.thread = ThreadPoolExecutor(1, "network")
        self.started = False

    async def start(self) -> None:
        """Draw an image twice, the second of which tells how long an evaluation takes."""
        loop = asyncio.get_running_loop()
        for _ in range(2):
            began = loop.time()
            images = self.answerer.generate(GenerationRequest(options=QUICK))
            await loop.run_in_executor(self.thread, list, images)
            self.each = loop.time() - began
        self.started = True

    async def stop(self) -> None:
        """End the thread, and whatever is still drawn for nobody."""
        self.started = False
        for generation in list(self.inside):
            generation.stop()
        self.thread.shutdown()

    def ready(self) -> bool:
        """Whether a request would be answered: started, and no step takes longer than any answer may."""
        now = asyncio.get_running_loop().time()
        moved = [generation.moved for generation in self.inside if generation.moved is not None]
        return self.started and not any(now - since > self.limits.answer_seconds for since in moved)

    def images_inside(self) -> int:
        """Images accepted and not yet answered."""
        return sum(generation.request.n for generation in self.inside)

    def expected(self) -> float:
        """Seconds until the turn of a request that came now."""
        return self.each * sum(generation.of - generation.done for generation in self.inside)

    def require_room(self, images: int = 1) -> None:
        """Raise RefusedError (429) unless the turn of `images` more would come in time."""
        full = self.inside and self.images_inside() + images > self.limits.queue
        if full or self.expected() > self.limits.generation_seconds:
            raise busy(self.expected())

    def begin(self, request: GenerationRequest) -> Generation:
        """Accept a request, whose turn comes after those before it. Raises RefusedError: 422 for what this generator
        does not draw, or not so much of, 429 where there is no room."""
        try:
            each = self.evaluations_of_each(request)
            batches = -(-request.n // self.answerer.sampler.batch)
            generation = Generation(request, each * request.n, each * batches)
            loop = asyncio.get_running_loop()
            images = self.answerer.generate(request, partial(self.after_step, generation, loop))
        except SkipwayError as fault:
            raise RefusedError(422, str(fault)) from None
        if generation.evaluations > self.limits.evaluations:
            raise RefusedError(
                422,
                f"{request.n:,} images of {each:,} network evaluations each are more than the "
                f"{self.limits.evaluations:,} evaluations that are allowed: ask for fewer images or steps",
            )
        self.require_room(request.n)
        generation.job = loop.run_in_executor(self.thread, self.draw, generation, images, loop)
        self.inside.add(generation)
        self.metrics.inside.inc(request.n)
        generation.job.add_done_callback(partial(self.ended, generation))
        return generation

    def evaluations_of_each(self, request: GenerationRequest) -> int:
        """Network evaluations of an image. Raises SkipwayError for what this generator does not draw."""
        names = request.classes_in_turn(self.answerer.classes)
        return self.answerer.options_for(request, names).evaluations

    def ended(self, generation: Generation, job: asyncio.Future[None]) -> None:
        if not job.cancelled():
            job.exception()  # asyncio would report one that nobody waits for
        self.inside.discard(generation)
        self.metrics.inside.dec(generation.request.n)
        generation.waiting.put_nowait(None)

    # in the network's thread

    def draw(self, generation: Generation, images: Iterator[GeneratedImage], loop: asyncio.AbstractEventLoop) -> None:
        """Hand over each image as it gets ready. Raises RefusedError: 422 for images that are not finite, 504."""
        generation.begun = generation.moved = loop.time()
        try:
            for image in images:
                self.hand_over(generation, loop, Drawn(image, image_png(image)))
                self.metrics.images.labels("generated").inc()
        except Stopped:
            return
        except SkipwayError as fault:
            raise RefusedError(422, str(fault)) from None
        self.metrics.stage.labels("generate").observe(loop.time() - generation.begun)

    def after_step(self, generation: Generation, loop: asyncio.AbstractEventLoop, done: int, of: int) -> None:
        """Report a step. Raises Stopped, and RefusedError (504) where the images take too long."""
        now = loop.time()
        if generation.stopped.is_set():
            raise Stopped
        assert generation.begun is not None and generation.moved is not None
        if now - generation.begun > self.limits.generation_seconds:
            allowed = f"{self.limits.generation_seconds:g} seconds"
            raise RefusedError(504, f"the images took longer than {allowed}: ask for fewer images or steps")
        if done > generation.done:
            self.each = smoothed(self.each, (now - generation.moved) / (done - generation.done))
        generation.done, generation.of, generation.moved = done, of, now
        self.hand_over(generation, loop, Progress(done, of))

    def hand_over(self, generation: Generation, loop: asyncio.AbstractEventLoop, event: Event) -> None:
        loop.call_soon_threadsafe(generation.waiting.put_nowait, event)
