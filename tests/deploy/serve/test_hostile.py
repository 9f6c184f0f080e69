"""Bodies that are broken on purpose, by the hundred: none crashes the server, none is answered with 5xx."""

import io
import resource
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from served import picture
from starlette.testclient import TestClient

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
FINE = {200, 400, 408, 413, 415, 422, 429}
MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBP",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P6 ",
    b"%!PS",
    b"\x93NUMPY",
)
Body = tuple[bytes, str]


def mutated(rng: np.random.Generator) -> Iterator[Body]:
    """Images cut off, with bytes changed, doubled, swapped, or with another's beginning."""
    whole = {kind: picture(60, 40, 7, kind) for kind in KINDS}
    for image in whole.values():
        for place in rng.integers(1, len(image), 12):
            yield image[:place], "image/jpeg"
        for changes in (1, 1, 1, 1, 2, 5, 20, 100):
            for low, high in ((0, min(64, len(image))), (0, len(image))):
                broken = np.frombuffer(image, np.uint8).copy()
                broken[rng.integers(low, high, changes)] = rng.integers(0, 256, changes)
                yield broken.tobytes(), "image/png"
        for place in rng.integers(1, len(image), 6):
            yield image[:place] + image, "image/webp"
            yield image[place:] + image[:place], "image/gif"
        for other in KINDS:
            yield whole[other][:20] + image[20:], "application/octet-stream"


def sizes() -> Iterator[Body]:
    """Files that say that they are enormous, or empty, in a few bytes."""
    for width, height in ((0, 0), (1, 0), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (65535, 65535), (100_000, 1)):
        ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 1)
        yield b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr)), "image/png"
        yield (
            b"GIF89a" + struct.pack("<HHBBB", width & 65535, height & 65535, 0x80, 0, 0) + b"\0" * 6 + b",",
            "image/gif",
        )
        yield (
            b"BM" + struct.pack("<IIIIiiHH", 70, 0, 54, 40, width & 0x7FFFFFFF, height & 0x7FFFFFFF, 1, 24),
            "image/bmp",
        )
        yield f"P6 {width} {height} 255\n".encode() + b"\0" * 100, "image/x-portable-pixmap"
    stream = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(stream, "PNG")  # nine million pixels in thirty kilobytes
    yield stream.getvalue(), "image/png"
    text = b"zTXtkey\0\0" + zlib.compress(b"a" * 80_000_000)[:250_000]
    image = picture(kind="PNG")
    yield (
        image[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + image[33:],
        "image/png",
    )


def noise(rng: np.random.Generator) -> Iterator[Body]:
    """Random bytes, by themselves and behind the marks of formats, with types that are right, wrong and none."""
    for length in (0, 1, 2, 10, 1000, 100_000):
        for magic in (b"", *MAGIC):
            yield magic + rng.bytes(length), "image/jpeg"
    for kind in (
        "",
        "text/html",
        "image/",
        "image/../..",
        "a" * 5000,
        "multipart/form-data",
        "image/jpeg\t;;;=",
        "*/*",
    ):
        yield picture(), kind


def forms(rng: np.random.Generator) -> Iterator[Body]:
    """Multipart bodies: many parts, huge and broken heads, boundaries within boundaries, ends that never come."""
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    image = picture()
    good = part + image + b"\r\n--b--\r\n"
    yield good, kind
    yield (part + image + b"\r\n") * 60 + b"--b--\r\n", kind
    yield (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n') * 3000 + b"--b--\r\n", kind
    yield part.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n") + image + b"\r\n--b--", kind
    yield part.replace(b"\r\n\r\n", b"\r\nX: y" * 30_000 + b"\r\n\r\n") + image + b"\r\n--b--", kind
    yield part.replace(b"a.jpg", b"../" * 1000 + b"\0\xff\xfe") + image + b"\r\n--b--", kind
    yield part.replace(b'name="images"; ', b"") + image + b"\r\n--b--", kind
    yield b"--b\r\n" * 5000, kind
    yield good, "multipart/form-data; boundary=" + "b" * 3000
    yield good, "multipart/form-data; boundary=b; charset=no-such"
    yield good, 'multipart/form-data; boundary="'
    for place in rng.integers(1, len(good), 30):
        yield good[:place], kind
    for _ in range(60):
        broken = np.frombuffer(good, np.uint8).copy()
        broken[rng.integers(0, 90, 3)] = rng.integers(0, 256, 3)
        yield broken.tobytes(), kind


def test_no_body_crashes_the_server_or_gets_a_5xx(client: TestClient) -> None:
    rng = np.random.default_rng(0)
    bodies = [*mutated(rng), *sizes(), *noise(rng), *forms(rng)]
    assert len(bodies) >= 500
    expected = client.post("/v1/predict", content=picture(), headers={"Content-Type": "image/jpeg"}).json()["images"]
    counts: dict[int, int] = {}
    before = 0
    for number, (body, kind) in enumerate(bodies):
        path = "/v1/explain" if number % 20 == 0 else "/v1/predict"
        answer = client.post(path, content=body, headers={"Content-Type": kind.encode()} if kind else {})
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        assert answer.status_code in FINE, (number, kind, body[:60], answer.text)
        if answer.status_code != 200:
            detail = answer.json()["detail"]
            assert detail and "\n" not in detail and "Traceback" not in detail
        if number == len(bodies) // 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB, at the most that it had
    assert counts[200] > 20, "hardly a body was read: the test would prove little"
    assert counts[422] > 200
    again = client.post("/v1/predict", content=picture(), headers={"Content-Type": "image/jpeg"}).json()["images"]
    assert again == expected
    assert "skipway_images_inside 0.0" in client.get("/metrics").text
