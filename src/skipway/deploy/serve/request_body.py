"""A request's body into encoded images, or JSON: read as it comes, within limits of bytes, parts and time."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.requests import ClientDisconnect

from skipway.deploy.serve.limits import Limits, RefusedError, Share
from skipway.deploy.serve.multipart import Part, parse

FORM, FIELD = "multipart/form-data", "images"
JSON = "application/json"
CLOSE = {"Connection": "close"}  # what is left of such a body is not waited for


@dataclass(frozen=True)
class Upload:
    """An image as it was sent. `name` stands in answers and messages."""

    name: str
    content: bytes


async def read(request: Request, limits: Limits, share: Share) -> list[Upload]:
    """The images of a request: of a multipart form's fields `images`, or the body itself.

    Raises RefusedError: 400 for a body that is none, 408 for one that comes too slowly, 413 for one that is too large,
    415 for other content types, 429 when memory for bodies is used up.
    """
    kind = request.headers.get("content-type", "")
    plain = kind.partition(";")[0].strip().lower()
    if plain != FORM and plain != "application/octet-stream" and not plain.startswith("image/"):
        raise RefusedError(415, f"send an image as the body with a Content-Type such as image/jpeg, or {FORM}")
    body = await whole(request, limits, share)
    parts = parse(kind, body, limits.images) if plain == FORM else [Part(FIELD, "image", bytearray(body))]
    if not parts or not all(part.content for part in parts):
        raise RefusedError(400, f"there is no image: send one as the body, or in the form's field `{FIELD}`")
    return [upload(part) for part in parts]


async def read_json(request: Request, limits: Limits, share: Share) -> bytes:
    """A request's body of JSON. Raises RefusedError as `read`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RefusedError(415, f"send {JSON}")
    return await whole(request, limits, share)


async def whole(request: Request, limits: Limits, share: Share) -> bytes:
    """The body. Raises RefusedError (400, 408, 413, 429)."""
    try:
        async with asyncio.timeout(limits.body_seconds):
            return b"".join([chunk async for chunk in arriving(request, limits, share)])
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {limits.body_seconds:g} seconds", CLOSE) from None
    except ClientDisconnect:
        raise RefusedError(400, "the body ended before it was whole", CLOSE) from None


async def arriving(request: Request, limits: Limits, share: Share) -> AsyncGenerator[bytes, None]:
    """The body's pieces, as long as they are within the limit; of one that is not, the rest is read and dropped.

    A client that is still sending would not see an answer; so it is heard out, up to eight times the limit.
    """
    declared = request.headers.get("content-length", "")
    total = 0
    over = declared.isdigit() and int(declared) > limits.body_bytes
    async for chunk in request.stream():
        total += len(chunk)
        over = over or total > limits.body_bytes
        if not over:
            share.take(len(chunk))
            yield chunk
        elif total > 8 * limits.body_bytes:
            break
    if over:
        raise RefusedError(413, f"the body has more than the {limits.body_bytes:,} bytes that are allowed", CLOSE)


def upload(part: Part) -> Upload:
    """A part of a form. Raises RefusedError (400) for any field but `images`."""
    if part.name != FIELD:
        raise RefusedError(400, f"the form has a field that is not known here: send images in `{FIELD}`")
    return Upload(printable(part.filename), bytes(part.content))


def printable(name: str) -> str:
    """A file name as it may stand in a sentence: one line, at most 100 characters, no folder."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c if c.isprintable() else "?" for c in name)[:100] or "image"
