"""The bounded look at image headers: it agrees with Pillow on real images, counts scans, and its work is bounded."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data.image_headers import BLOCKS, CHUNKS, ENTRIES, JUNK, METADATA, SEGMENTS, HeaderError, read_header

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
LONGEST = 1.0  # seconds for 20 MB, on a machine that does other things besides
SIZE = 20_000_000


def encoded(kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (37, 23), **options: object) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_scans(count: int, size: tuple[int, int] = (16, 16)) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are `count`."""
    whole = encoded(size=size, progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * (count - whole.count(b"\xff\xda")) + whole[-2:]


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_and_kind_of_an_image_are_pillows(kind: str) -> None:
    for mode in ("RGB", "L"):
        content = encoded(kind, mode)
        header = read_header(content)
        with Image.open(io.BytesIO(content)) as image:
            assert (header.kind, header.width, header.height) == (image.format, *image.size)
        assert (header.scans, header.frames, header.simple) == (1, 1, True)


def test_other_modes_of_webp_and_bmp_files_have_pillows_size() -> None:
    for options in ({"lossless": True}, {"exif": b"Exif\0\0" + b"x" * 100}, {"icc_profile": b"x" * 99}):
        header = read_header(encoded("WEBP", "RGBA", **options))
        assert (header.width, header.height, header.simple) == (37, 23, True)
    assert not read_header(encoded("BMP", "P")[:30] + b"\1" + encoded("BMP", "P")[31:]).simple  # run lengths


def test_photographs_are_simple_and_of_pillows_size(shared_data: Path) -> None:
    files = [file for file in sorted(shared_data.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg", ".png")][::50]
    assert len(files) > 20
    for file in files:
        header = read_header(file.read_bytes())
        with Image.open(file) as image:
            assert (header.width, header.height) == image.size, file.name
        assert header.simple, file.name


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_are_counted_as_pillow_counts_them(kind: str) -> None:
    stream = io.BytesIO()
    frames = [Image.new("L", (8, 8), 40 * i) for i in range(5)]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert read_header(stream.getvalue()).frames == image.n_frames == 5


@pytest.mark.parametrize("count", [10, 12, 13, 2000])
def test_scans_are_counted_to_the_end_of_the_image_and_not_beyond(count: int) -> None:
    content = with_scans(count)
    if count <= SEGMENTS:
        assert read_header(content).scans == count
        assert read_header(content + content).scans == count
    else:
        with pytest.raises(HeaderError, match="segments"):
            read_header(content)


def test_scans_in_a_thumbnail_or_behind_a_false_end_are_told_apart() -> None:
    plain, many = encoded(), with_scans(50)
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(many) + 2) + many
    assert read_header(plain[:2] + thumbnail + plain[2:]).scans == 1
    first = many.rfind(b"\xff\xda")
    hidden = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"  # a comment with the mark of an end
    assert read_header(many[:first] + hidden + many[first:]).scans == 50


def test_a_multi_picture_file_is_the_jpeg_that_it_begins_with_and_not_simple() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(
        stream, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))], progressive=True
    )
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert image.format == "MPO"
    header = read_header(stream.getvalue())
    assert (header.kind, header.width, header.height, header.simple) == ("JPEG", 40, 30, False)
    assert header.scans == 10  # of the first image, a progressive one


def test_what_would_cost_more_than_its_pixels_is_not_simple() -> None:
    assert not read_header(encoded(exif=b"Exif\0\0" + b"x" * 60_000) [:2] + b"".join(
        b"\xff\xe1\xff\xff" + bytes(65533) for _ in range(METADATA // 65535 + 1)
    ) + encoded()[2:]).simple  # fmt: skip
    arithmetic = encoded().replace(b"\xff\xc0", b"\xff\xc9")
    assert not read_header(arithmetic).simple
    two_frames = encoded(size=(900, 20))
    start = two_frames.index(b"\xff\xc0")
    second = two_frames[start : start + 19].replace(struct.pack(">HH", 20, 900), struct.pack(">HH", 20, 30_000))
    header = read_header(two_frames[:start] + second + two_frames[start:])
    assert (header.width, header.simple) == (30_000, False)
    long = encoded(size=(400, 400), quality=95)
    assert read_header(long).simple
    assert not read_header(long, coded=10_000).simple
    png = encoded("PNG")
    assert not read_header(png[:33] + chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(10**8), 1)) + png[33:]).simple
    assert not read_header(png[:33] + png[8:]).simple  # its size stands there twice


FLOODS = {
    "application segments": b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xe5\x00\x02" * (SIZE // 4),
    "comments": b"\xff\xd8\xff\xfe\x00\x02" + b"\xff\xfe\x00\x02" * (SIZE // 4),
    "restarts": b"\xff\xd8\xff\xe0\x00\x02" + b"\xff\xd0" * (SIZE // 2),
    "filling bytes": b"\xff\xd8\xff" + b"\xff" * SIZE,
    "ends": b"\xff\xd8\xff\xe0\x00\x02" + b"\xff\xd9" * (SIZE // 2),
    "zeros": b"\xff\xd8\xff\xe0\x00\x02" + bytes(SIZE),
    "tables between scans": encoded()[:-2] + b"\xff\xdd\x00\x04\x00\x00" * (SIZE // 6),
    "chunks": encoded("PNG")[:33] + chunk(b"teXt") * (SIZE // 12),
    "webp chunks": encoded("WEBP") + b"EXIF\0\0\0\0" * (SIZE // 8),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_refused_soon(name: str) -> None:
    start = time.perf_counter()
    with pytest.raises(HeaderError, match="has more than"):
        read_header(FLOODS[name])
    assert time.perf_counter() - start < LONGEST


HEAVY = {
    "coded zeros": encoded()[:-2] + b"\xff\x00" * (SIZE // 2),
    "restarts within a scan": encoded()[:-2] + b"\xff\xd0" * (SIZE // 2),
    "blocks of a GIF": encoded("GIF")[:-1] + b"!\xfe" + b"\1a" * (SIZE // 2),
    "frames of a GIF": encoded("GIF")[:-1] + b",\0\0\0\0\1\0\1\0\0\2\1a\0" * (SIZE // 14),
    "nothing in a GIF": encoded("GIF")[:-1] + b"x" * SIZE,
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_too_long_to_be_walked_is_left_to_a_process_soon(name: str) -> None:
    start = time.perf_counter()
    assert not read_header(HEAVY[name]).simple
    assert time.perf_counter() - start < LONGEST


def test_the_directories_of_a_tiff_are_bounded_also_where_they_form_a_circle() -> None:
    def directory(count: int, after: int) -> bytes:
        entry = struct.pack("<HHII", 256, 4, 1, 7)
        return struct.pack("<H", count) + entry * count + struct.pack("<I", after)

    for count in (0, 1, ENTRIES + 1):
        header = read_header(b"II*\0\x08\0\0\0" + directory(count, 8))
        assert (header.kind, header.simple) == ("TIFF", False)
    bomb = struct.pack("<HHII", 300, 7, 1 << 30, 0)  # a value of a gigabyte
    assert not read_header(b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + bomb + bytes(4)).simple


def test_damaged_files_raise_nothing_but_header_errors() -> None:
    rng = np.random.default_rng(0)
    for kind in (*KINDS, "AVIF"):
        whole = encoded(kind)
        for trial in range(300):
            broken = np.frombuffer(whole, np.uint8).copy()
            broken[rng.integers(0, min(100, len(whole)), 4)] = rng.integers(0, 256, 4)
            try:
                header = read_header(broken.tobytes()[: len(whole) if trial % 2 else int(rng.integers(0, len(whole)))])
            except HeaderError:
                continue
            assert header.pixels >= 0


def test_the_bounds_leave_room_for_what_cameras_and_programs_write() -> None:
    profile = b"".join(b"\xff\xe2" + struct.pack(">H", 3000) + bytes(2998) for _ in range(255))  # as many as ICC allows
    plain = encoded()
    assert read_header(plain[:2] + profile + plain[2:]).scans == 1
    large = chunk(b"IDAT", bytes(8192)) * (SIZE // 8204)
    assert read_header(encoded("PNG")[:33] + large).simple
    assert (SEGMENTS, CHUNKS, BLOCKS, JUNK) == (1024, 16_384, 16_384, 4096)
