"""A bounded look at an encoded image before a library opens it: its kind, its size, and whether it is simple.

Readers of images walk a file's segments or chunks in Python and read what they hold; a few megabytes of nothing else
keep them busy for half a minute. Here the same structure is walked with a bound on its parts, in microseconds for
photographs and in some milliseconds at most. Nothing is decoded, and no library is asked.

Sources: JPEG ITU-T T.81, annex B; PNG W3C Recommendation, section 5; GIF89a, sections 18 to 26; WebP RFC 9649,
section 2; TIFF 6.0, section 2; BMP as of BITMAPINFOHEADER. HEIF, AVIF and JPEG XL are known by
their brand or signature alone.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

SEGMENTS = 1024  # of a JPEG; photographs have some tens, with a large colour profile a few hundred
CHUNKS = 16_384  # of a PNG: 20 MB in pieces of 1,200 bytes; of a WebP
BLOCKS = 16_384  # of a GIF, of 255 bytes each, beyond which it is not walked
ENTRIES = 256  # of a TIFF's directories together, beyond which they are not read
JUNK = 4096  # bytes between the segments of a JPEG, which readers skip one by one
METADATA = 256 << 10  # bytes of profiles, EXIF and comments that a reader takes in at once
CODED = 4 << 20  # bytes of a JPEG's coded pixels in which further scans are looked for, unless told otherwise
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xff]")  # neither a coded 0xff nor a restart, which stand among coded pixels
START, END, SCAN = 0xD8, 0xD9, 0xDA
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, Huffman coded
OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}  # lossless, hierarchical, arithmetic
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE
PORTABLE = re.compile(rb"P[56]\s(\d{1,9})\s(\d{1,9})\s255\s")  # others are read by loops in Python
TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of a value, by its type
WIDTH, HEIGHT, COMPRESSION = 256, 257, 259  # TIFF's tags
POINTERS = {330, 34665, 34853, 40965}  # TIFF's tags of further directories
DIRECT = {1, 5, 8, 32773, 32946}  # TIFF's compressions without a codec of their own: none, LZW, deflate, PackBits
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")


class HeaderError(ValueError):
    """A file with more parts than any photograph has. The message goes after the file's name."""


class Header(NamedTuple):
    """What the structure of an encoded image says of it.

    kind: as Pillow calls it, MPO as JPEG; empty for others. width, height: in pixels, 0 where they are not read here.
    scans: of a JPEG, each of which goes over all pixels. frames: of an animation, pages of a TIFF. simple: whether all
    of it was looked at, and the work of a reader is bounded by pixels, scans and frames.
    """

    kind: str
    width: int = 0
    height: int = 0
    scans: int = 1
    frames: int = 1
    simple: bool = False

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(content: bytes, coded: int = CODED) -> Header:
    """The Header of an encoded image; of a JPEG the scans within the first `coded` bytes of its coded pixels.

    Raises HeaderError for floods of segments or chunks. A damaged or truncated file is described as far as it goes.
    """
    for start, reader in READERS.items():
        if content.startswith(start):
            return reader(content)
    if content.startswith(b"\xff\xd8\xff"):
        return jpeg(content, coded)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return webp(content)
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return Header("HEIF" if brand in HEIF_BRANDS else "AVIF" if brand in AVIF_BRANDS else "")
    return Header("")


def jpeg(content: bytes, coded: int) -> Header:
    """Segments up to the end of the image, as libjpeg reads them, or of the header, as Pillow does, which ends later.

    What follows the image, such as the other images of a multi-picture file, is not looked at.
    """
    at, segments, junk, metadata, scans, walked = 2, 0, 0, 0, 0, 0
    width = height = frames = 0
    simple = True
    while found := MARKER.search(content, at, at + (coded - walked if scans else JUNK) + 2):
        skipped, marker = found.start() - at, content[found.start() + 1]
        walked, junk = (walked + skipped, junk) if scans else (walked, junk + skipped)
        if marker == 0xFF:  # a filling byte
            at, junk = found.start() + 1, junk + 1
        else:
            at, segments = found.end(), segments + 1
        if segments > SEGMENTS or junk > JUNK:
            raise HeaderError(f"has more than {SEGMENTS:,} segments or {JUNK:,} bytes between them")
        if marker == END and scans:
            break
        if marker < 0xC0 and marker != 1:  # reserved: libjpeg and Pillow give up here
            return Header("JPEG", width, height, max(scans, 1))
        if marker in (0xFF, START, END, 1):
            continue
        if marker in FRAMES or marker in OTHER_FRAMES:
            tall, wide = struct.unpack(">HH", content[at + 3 : at + 7].ljust(4, b"\0"))
            width, height, frames = max(width, wide), max(height, tall), frames + 1
            simple = simple and marker in FRAMES and frames == 1
        length = int.from_bytes(content[at : at + 2], "big")
        if marker in APPLICATION or marker == COMMENT:
            metadata += length
            simple = simple and not (marker == 0xE2 and content[at + 2 : at + 6] == b"MPF\0")
        scans += marker == SCAN
        at += max(length, 2)
    else:  # nothing more was found: the end of the file, or of what is looked at
        if not scans and len(content) - at > JUNK:
            raise HeaderError(f"has more than {JUNK:,} bytes between its segments")
        simple = simple and len(content) - at <= coded - walked
    return Header("JPEG", width, height, max(scans, 1), simple=simple and metadata <= METADATA)


def png(content: bytes) -> Header:
    """Chunks up to IEND; of an animation (APNG) the number of frames that it declares."""
    at, metadata, sizes, frames, width, height = 8, 0, 0, 1, 0, 0
    for _ in range(CHUNKS):
        if at + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IHDR":
            width, height = struct.unpack(">II", content[at + 8 : at + 16].ljust(8, b"\0"))
            sizes += 1
        elif kind == b"acTL":
            frames = int.from_bytes(content[at + 8 : at + 12], "big")
        elif kind == b"IEND":
            break
        elif kind[0] & 0x20 and kind not in (b"fdAT", b"fcTL"):
            metadata += length
        at += length + 12
    else:
        raise HeaderError(f"has more than {CHUNKS:,} chunks")
    # a reader inflates compressed metadata, up to a thousandfold
    return Header("PNG", width, height, frames=max(frames, 1), simple=sizes == 1 and metadata <= METADATA // 4)


def webp(content: bytes) -> Header:
    """Chunks up to the end; the largest of the sizes that stand in them."""
    at, metadata, frames, width, height = 12, 0, 0, 0, 0
    simple = True
    for _ in range(CHUNKS):
        if at + 8 > len(content):
            break
        kind, length = struct.unpack_from("<4sI", content, at)
        data = content[at + 8 : at + 18].ljust(10, b"\0")
        size = (0, 0)
        if kind == b"VP8X":
            size = (int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1)
        elif kind == b"VP8 ":
            size = (int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF)
        elif kind == b"VP8L":
            bits = int.from_bytes(data[1:5], "little")
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"ANMF":
            frames, simple = frames + 1, False
        else:
            metadata += length
        width, height = max(width, size[0]), max(height, size[1])
        at += 8 + length + length % 2
    else:
        raise HeaderError(f"has more than {CHUNKS:,} chunks")
    return Header("WEBP", width, height, frames=max(frames, 1), simple=simple and metadata <= METADATA)


def gif(content: bytes) -> Header:
    """Blocks up to the end, or to BLOCKS of them: then it is not simple. The canvas holds every frame."""
    width, height = struct.unpack("<HH", content[6:10].ljust(4, b"\0"))
    frames, left, at = 0, BLOCKS, 13 + table_bytes(content[10:11])
    while left > 0:
        kind = content[at : at + 1]
        if kind in (b";", b""):
            break
        if kind == b",":
            over, down, wide, tall = struct.unpack("<HHHH", content[at + 1 : at + 9].ljust(8, b"\0"))
            width, height, frames = max(width, over + wide), max(height, down + tall), frames + 1
            at, left = after_blocks(content, at + 11 + table_bytes(content[at + 9 : at + 10]), left)
        elif kind == b"!":
            at, left = after_blocks(content, at + 2, left)
        else:
            at, left = at + 1, left - 1  # readers skip what they do not know
    return Header("GIF", width, height, frames=max(frames, 1), simple=left > 0)


def table_bytes(packed: bytes) -> int:
    """Bytes of the colour table that the packed field of a GIF announces."""
    return 3 << (packed[0] & 7) + 1 if packed and packed[0] & 0x80 else 0


def after_blocks(content: bytes, at: int, left: int) -> tuple[int, int]:
    """Where the data that begins at `at`, in blocks with their lengths, has ended, and how many of `left` are left."""
    while left > 0:
        length = content[at] if at < len(content) else 0
        at, left = at + length + 1, left - 1
        if not length:
            break
    return at, left


def bmp(content: bytes) -> Header:
    """The information header; run-length encoded ones are read by a loop in Python."""
    size, width, height, _, _, compression = struct.unpack("<IiiHHI", content[14:34].ljust(20, b"\0"))
    return Header("BMP", abs(width), abs(height), simple=size >= 40 and compression in (0, 3))


def portable(content: bytes) -> Header:
    """PPM and its relatives, binary ones of 8 bits; of others the size is not read."""
    found = PORTABLE.match(content[:64])
    return Header("PPM", int(found[1]), int(found[2]), simple=True) if found else Header("PPM")


def tiff(content: bytes) -> Header:
    """The directories of its pages, up to ENTRIES of them together; the largest page."""
    order = "<" if content[:2] == b"II" else ">"
    at = int.from_bytes(content[4:8], "little" if order == "<" else "big")
    width = height = pages = entries = data = 0
    simple = True
    while at and simple:
        count = int(struct.unpack(order + "H", content[at : at + 2].ljust(2, b"\0"))[0])
        entries, pages = entries + count + 1, pages + 1
        if entries > ENTRIES or at + 2 + 12 * count + 4 > len(content):
            return Header("TIFF", width, height, frames=pages)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", content, place)
            value = struct.unpack_from(order + ("H2x" if kind == 3 else "I"), content, place + 8)[0]
            data += number * TIFF_BYTES.get(kind, 1)
            width, height = max(width, value * (tag == WIDTH)), max(height, value * (tag == HEIGHT))
            simple = simple and tag not in POINTERS and (tag != COMPRESSION or value in DIRECT)
        at = int(struct.unpack_from(order + "I", content, at + 2 + 12 * count)[0])
    return Header("TIFF", width, height, frames=max(pages, 1), simple=simple and data <= METADATA)


READERS: dict[bytes, Callable[[bytes], Header]] = {
    b"\x89PNG\r\n\x1a\n": png,
    b"GIF8": gif,
    b"BM": bmp,
    b"P": portable,
    b"II*\0": tiff,
    b"MM\0*": tiff,
    b"\xff\x0a": lambda content: Header("JXL"),
    b"\0\0\0\x0cJXL \r\n\x87\n": lambda content: Header("JXL"),
    **dict.fromkeys((b"MM*\0", b"II\0*", b"II+\0", b"MM\0+"), lambda content: Header("TIFF")),  # odd ones and BigTIFF
}
