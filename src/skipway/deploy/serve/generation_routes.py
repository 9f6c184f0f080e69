"""The route of a generator: images as JSON, as one PNG, or one by one as they get ready."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from skipway.deploy.generate.pictures import grid_png
from skipway.deploy.generate.request import GeneratedImage
from skipway.deploy.serve import request_body
from skipway.deploy.serve.generation import Drawn, Generation, GenerationService, Progress
from skipway.deploy.serve.generation_schema import (
    DONE,
    FAILED,
    IMAGE,
    LINES,
    PNG,
    PROGRESS,
    answer_schema,
    body_schema,
    wanted,
)
from skipway.deploy.serve.limits import RefusedError
from skipway.deploy.serve.request_body import JSON
from skipway.deploy.serve.schema import faults

FORMS = {JSON: JSON, PNG: PNG, LINES: LINES, "*/*": JSON, "application/*": JSON, "image/*": PNG}  # by Accept
UNBUFFERED = {"X-Accel-Buffering": "no"}  # said to proxies that would hand over a stream when it is whole
T = TypeVar("T")


def generation(service: GenerationService) -> APIRouter:
    """What draws images."""
    routes = APIRouter(prefix="/v1")
    known = service.answerer.classes

    @routes.post(
        "/generate",
        responses={200: answer_schema(), **faults(400, 406, 408, 413, 415, 422, 429, 500, 504)},
        openapi_extra=body_schema(known, service.limits),
    )
    async def generate(request: Request) -> Response:
        """Images drawn by the generator. As JSON; with `Accept: image/png` as one grid; with `Accept:
        application/x-ndjson` one by one as they get ready, with progress in between. An image depends on seed, index,
        class, guidance, steps and solver alone. Who goes away cancels what is not yet drawn.
        """
        form = form_for(request.headers.get("accept", "*/*"))
        service.require_room()  # said before the body is read: cheap for both
        with service.held.share() as share:
            asked = wanted(await request_body.read_json(request, service.limits, share))
        since = asyncio.get_running_loop().time()
        work = service.begin(asked.request(known, service.limits))
        if form == LINES:
            return EventStream(work, since, service.limits.body_seconds)
        drawn = await unless_gone(request, collected(work))
        if form == PNG:
            sheet = await asyncio.to_thread(grid_png, [one.image for one in drawn])
            return Response(sheet, media_type=PNG)
        images = [fields_of(one, work) for one in drawn]
        return JSONResponse({"images": images, **totals(work, since)})

    return routes


def form_for(accept: str) -> str:
    """The form of the answer that an Accept header likes best. Raises RefusedError (406) for others alone."""
    liked: list[tuple[float, str]] = []
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [value.removeprefix("q=") for value in parameters if value.startswith("q=")]
        weight = 1.0
        with suppress(ValueError):
            weight = float(weights[0]) if weights else 1.0
        if kind in FORMS and weight > 0:
            liked.append((weight, FORMS[kind]))
    if not liked:
        raise RefusedError(406, f"Accept: images are answered as {JSON}, {PNG} or {LINES}")
    return max(liked, key=lambda one: one[0])[1]


async def collected(work: Generation) -> list[Drawn]:
    """All images of a generation."""
    return [event async for event in work.events() if isinstance(event, Drawn)]


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, cancelled when the client goes away. Raises RefusedError (400), which nobody reads, then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(client_left(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise RefusedError(400, "the client went away before its images were ready")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def client_left(request: Request) -> None:
    """Return when the client of a request, whose body was read, closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def fields_of(drawn: Drawn, work: Generation) -> dict[str, Any]:
    """The fields of a `Picture`."""
    image: GeneratedImage = drawn.image
    png = base64.b64encode(drawn.png).decode()
    return {"index": image.index, "class": image.label, "seed": work.request.seed, "png": png, "text": image.text()}


def totals(work: Generation, since: float) -> dict[str, Any]:
    """What holds for all images; since: the loop's time when they were asked for."""
    return {"evaluations": work.evaluations, "seconds": round(asyncio.get_running_loop().time() - since, 6)}


# ---------------------------------------------------------------------------------------------------------------------
# One by one


async def lines(work: Generation, since: float) -> AsyncGenerator[bytes, None]:
    """Each event as a line of JSON."""
    try:
        async for event in work.events():
            if isinstance(event, Progress):
                yield line(PROGRESS, done=event.done, of=event.of)
            else:
                yield line(IMAGE, **fields_of(event, work))
        yield line(DONE, images=work.request.n, **totals(work, since))
    except RefusedError as fault:
        yield line(FAILED, detail=fault.sentence)
    except Exception:  # the head is long sent: no handler can answer any more
        logging.getLogger("uvicorn.error").exception("a generation failed")
        yield line(FAILED, detail="the network failed on this request; the server's log says why")


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"event": event, **fields}).encode() + b"\n"


class EventStream(StreamingResponse):
    """The lines of a generation, which ends when the client goes away or takes no line for `seconds`."""

    def __init__(self, work: Generation, since: float, seconds: float) -> None:
        super().__init__(lines(work, since), media_type=LINES, headers=UNBUFFERED)
        self.work, self.seconds = work, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Any) -> None:
            async with asyncio.timeout(self.seconds):
                await send(message)

        try:
            with suppress(TimeoutError):
                await super().__call__(scope, receive, in_time)
        finally:
            self.work.stop()
