"""A request that asks for too much is refused in one sentence, soon, and without harm to others."""

import asyncio
import io
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from served import LIMITS, connected, heard, listening, picture, strict
from starlette.requests import Request
from starlette.testclient import TestClient

from skipway.deploy.serve.image_limits import check_header
from skipway.deploy.serve.limits import Held, RefusedError
from skipway.deploy.serve.request_body import read

ClientOf = Callable[..., TestClient]
JPEG = {"Content-Type": "image/jpeg"}


def refused(client: TestClient, status: int, said: str, **request: object) -> None:
    answer = client.post("/v1/predict", **{"headers": JPEG, **request})
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    assert said in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    """A PNG that says that it is `side` pixels a side, in a few bytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 1000)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bodies_above_the_limit(client: TestClient) -> None:
    refused(client, 413, "300,000 bytes", content=b"x" * (LIMITS.body_bytes + 1))

    def unannounced() -> Iterator[bytes]:  # sent in pieces, with no length said beforehand
        for _ in range(LIMITS.body_bytes // 10_000 + 1):
            yield b"x" * 10_000

    refused(client, 413, "300,000 bytes", content=unannounced())
    files = [("images", ("a.jpg", picture() + b"\0" * LIMITS.body_bytes))]
    refused(client, 413, "300,000 bytes", files=files, headers={})
    exactly = picture() + b"\0" * (LIMITS.body_bytes - len(picture()))
    assert client.post("/v1/predict", content=exactly, headers=JPEG).status_code == 200


def test_bodies_of_all_requests_together(client_of: ClientOf) -> None:
    with client_of(strict(held_bytes=1000)) as client:
        answer = client.post("/v1/predict", content=picture(100, 100), headers=JPEG)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/v1/predict", content=picture(8, 8, quality=10), headers=JPEG).status_code == 200


def test_images_with_too_many_pixels_frames_or_scans(patient: TestClient) -> None:
    client = patient
    refused(client, 422, "400 x 300 pixels, and 100,000 are allowed", content=picture(400, 300))
    for side in (10_000, 2**31 - 1):
        refused(client, 422, "pixels", content=bomb(side))
    frames = [Image.new("L", (8, 8), 40 * i) for i in range(LIMITS.frames + 1)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        stream, allowed = io.BytesIO(), io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        frames[0].save(allowed, kind, save_all=True, append_images=frames[1:-1])
        refused(client, 422, "5 frames", content=stream.getvalue())
        assert client.post("/v1/predict", content=allowed.getvalue(), headers=JPEG).status_code == 200, kind
    stream = io.BytesIO()
    Image.new("RGB", (300, 300)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole[whole.rfind(b"\xff\xda") : -2]
    assert client.post("/v1/predict", content=whole, headers=JPEG).status_code == 200
    refused(client, 422, "scans", content=whole[:-2] + last * 500 + whole[-2:])


def with_scans(count: int, side: int = 40) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are `count`."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * (count - whole.count(b"\xff\xda")) + whole[-2:]


def test_as_many_scans_as_are_allowed_pass_and_one_more_does_not() -> None:
    assert check_header(with_scans(LIMITS.scans), "a", LIMITS).scans == LIMITS.scans == 12
    with pytest.raises(RefusedError, match=r"^a has 13 scans, and 12 are allowed"):
        check_header(with_scans(LIMITS.scans + 1), "a", LIMITS)


def test_the_pixels_of_all_scans_together_may_be_as_many_as_are_allowed_and_not_one_more() -> None:
    header = check_header(with_scans(12), "a", strict(scanned=12 * 1600))
    assert (header.scans, header.pixels) == (12, 1600)
    with pytest.raises(RefusedError, match="12 scans of 40 x 40 pixels, and 19,199 pixels are allowed in all"):
        check_header(with_scans(12), "a", strict(scanned=12 * 1600 - 1))


def test_a_body_that_is_refused_is_heard_out_to_eight_times_the_limit_and_no_further() -> None:
    limits, size = strict(body_bytes=1000, body_seconds=60.0), 100

    def heard_of(pieces: int) -> tuple[int, str]:
        """How many pieces were taken of a body of so many, and what was said."""
        taken = 0

        async def receive() -> dict[str, object]:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b"x" * size, "more_body": taken < pieces}

        async def whole() -> str:
            request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", b"image/png")]}, receive)
            with Held(10_000).share() as share, pytest.raises(RefusedError) as said:
                await read(request, limits, share)
            return said.value.sentence

        said = asyncio.run(whole())
        return taken, said

    assert heard_of(80) == (80, "the body has more than the 1,000 bytes that are allowed")
    assert heard_of(500) == (81, "the body has more than the 1,000 bytes that are allowed")


def test_kinds_of_file_that_are_not_named_are_not_opened(client: TestClient) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    for content in (postscript, b"\x93NUMPY\x01\0", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture(kind="TGA")):
        refused(client, 422, "not an image of a kind that is taken", content=content)


def test_requests_without_an_image(client: TestClient) -> None:
    image = picture()
    refused(client, 400, "no image", content=b"")
    refused(client, 400, "no image", files=[("images", ("a.jpg", b""))], headers={})
    refused(client, 400, "not known here", files=[("picture", ("a.jpg", image))], headers={})
    refused(client, 422, "not an image", files={"images": (None, "text")}, headers={})
    refused(client, 400, "more than 4 parts", files=[("images", ("a.jpg", image))] * (LIMITS.images + 1), headers={})
    for kind in ("text/plain", "application/json", "", "multipart/mixed; boundary=x"):
        refused(client, 415, "Content-Type", content=image, headers={"Content-Type": kind} if kind else {})
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"):
        refused(client, 400, "the form cannot be read", content=b"--y\r\n\r\n", headers={"Content-Type": kind})


def test_a_url_is_never_fetched(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **options: asked.append(address))
    refused(client, 422, "not an image", content=b"http://127.0.0.1:1/a.jpg")
    refused(client, 422, "not an image", files={"images": (None, "http://127.0.0.1:1/a.jpg")}, headers={})
    assert not asked


def test_parameters_that_cannot_be(client: TestClient) -> None:
    for top in ("0", "-1", "many", "1e9", "2000"):
        refused(client, 422, "top: ", content=picture(), params={"top": top})
    assert client.put("/v1/predict").status_code == 405


# ---------------------------------------------------------------------------------------------------------------------
# On a real connection


def head(length: int, more: str = "") -> bytes:
    return (
        f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


def test_who_sends_a_body_too_slowly_is_told_and_left(live: str) -> None:
    with connected(live) as connection:
        connection.sendall(head(1000) + b"x" * 10)
        said = heard(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said.lower()
    assert b"did not arrive within 1 seconds" in said


def test_a_head_that_never_ends_is_not_waited_for(live: str) -> None:
    begun = [connected(live) for _ in range(20)]
    for number, connection in enumerate(begun):
        if number % 2:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    for connection in begun:
        assert heard(connection) == b""
        connection.close()
    again = connected(live)
    again.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert again.recv(4096).startswith(b"HTTP/1.1 200 ")
    again.sendall(b"GET /heal")  # the second head on a connection, too
    heard(again)
    again.close()


def test_huge_heads_are_refused(live: str) -> None:
    for more in ("X-Long: " + "a" * 200_000 + "\r\n", "X-Many: a\r\n" * 20_000):
        with connected(live) as connection:
            connection.sendall(head(0, more))
            assert heard(connection)[:13] in (b"HTTP/1.1 400 ", b"")  # or the connection is cut while it is sent


def test_what_is_no_http_is_refused(live: str) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with connected(live) as connection:
            connection.sendall(nonsense)
            said = heard(connection)
        assert said == b"" or said.startswith(b"HTTP/1.1 400 ")


def test_who_goes_away_in_the_middle_does_no_harm(live: str) -> None:
    for _ in range(20):
        with connected(live) as connection:
            connection.sendall(head(1000) + b"x" * 10)
    with connected(live) as connection:
        image = picture()
        connection.sendall(head(len(image), "Connection: close\r\n") + image)
        assert heard(connection).startswith(b"HTTP/1.1 200 ")


def test_a_refused_body_without_end_is_not_read_forever(fruit: Path) -> None:
    with listening(fruit, strict(body_bytes=2000)) as address, connected(address) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        until = time.monotonic() + 15
        with pytest.raises(OSError):  # reset or broken pipe, whichever comes first
            while time.monotonic() < until:
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
