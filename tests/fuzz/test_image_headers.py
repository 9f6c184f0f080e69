"""Encoded images: the look at their headers is short, ends in a Header or one line, and misses nothing of Pillow's."""

import io
import struct
import time
import warnings
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skipway.data.image_headers import Header, HeaderError, read_header
from tests.fuzz.changes import COUNTS, damaged, require_one_line

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
LONGEST = 0.5  # processor seconds for some hundred kilobytes, of which a fraction of a millisecond is usual
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"P6 ")


def encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind, **options)
    return stream.getvalue()


def frames(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[Image.new("RGB", (7, 5), "teal")])


def flood(piece: bytes, count: int) -> bytes:
    return piece * count


WHOLE = [
    *(encoded(kind) for kind in KINDS),
    encoded("JPEG", progressive=True),
    encoded("TIFF", compression="tiff_lzw"),
    *(frames(kind) for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO")),
]
EMPTY = struct.pack(">I", 0) + b"teXt" + struct.pack(">I", zlib.crc32(b"teXt"))
PIECES = st.sampled_from(
    [
        b"\xff\xd9",
        b"\xff\xda\0\2",
        b"\xff\xe1\0\2",
        b"\xff",
        EMPTY,
        b"!\xfe\1a\0",
        b",\0\0\0\0\1\0\1\0\0\2\1a\0",
        b"EXIF\0\0\0\0",
    ]
)
FLOODS = st.builds(flood, PIECES, st.sampled_from([1, 3, 100, 20_000]))
CONTENTS = st.one_of(
    st.sampled_from(WHOLE).flatmap(damaged),
    st.builds(
        lambda whole, at, put: whole[: at % len(whole)] + put + whole[at % len(whole) :],
        st.sampled_from(WHOLE),
        st.integers(0, 2000),
        FLOODS,
    ),
    st.builds(lambda magic, rest: magic + rest, st.sampled_from(MAGIC), st.binary(max_size=200)),
)


def seen_by_pillow(content: bytes) -> tuple[str, int, int] | None:
    """Kind, width and height by Pillow's look at the header; None for what it does not open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=KINDS) as image:
                return str(image.format), *image.size
        except Exception:  # a broken file can raise anything in the reader of its kind
            return None


def look(content: bytes) -> Header | None:
    """The Header, within LONGEST; None for a refusal in one line."""
    start = time.thread_time()
    try:
        header = read_header(content)
    except HeaderError as error:
        require_one_line(str(error))
        COUNTS["refused"] += 1
        header = None
    assert time.thread_time() - start < LONGEST
    return header


@given(CONTENTS)
def test_a_header_is_read_or_refused_and_simple_images_are_as_pillow_sees_them(content: bytes) -> None:
    header = look(content)
    if header is None:
        return
    COUNTS["accepted"] += 1
    assert min(header.width, header.height) >= 0 and min(header.scans, header.frames) >= 1
    seen = seen_by_pillow(content)
    if seen and header.simple:
        assert header.kind == ("JPEG" if seen[0] == "MPO" else seen[0])
        assert header.width >= seen[1] and header.height >= seen[2]
