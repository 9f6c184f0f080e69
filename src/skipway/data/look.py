"""One image looked at: whether training could read it, what kind it is, and a small grey copy to compare it by.

What `decode` says is the verdict, for `decode` is what training reads with. Nearly all photographs are JPEG, and for
these there is a shorter way to the same answer. Pillow reads the header, once for all images that share it; then
libjpeg-turbo decodes the picture at an eighth of its size, in grey, which reads every byte but skips most of the
arithmetic, and complains of anything amiss where Pillow keeps silent. Only what it complains of is decoded in full.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from skipway.data.colour import use_of_profile
from skipway.data.decode import ORIENTATION, WHOLE, decode, open_image
from skipway.data.refusals import JPEG, Why, classified, fault_of_file
from skipway.data.source import Item
from skipway.errors import DataError, first_line

LARGE = 16_000_000  # pixels from which images are decoded one at a time, so that memory stays that of one
THIN = 128  # pixels a side, at most, of the grey copy of an image that was decoded in full
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as JPEG's own grey
SMALL_SIDE = 32  # pixels: a JPEG is decoded to the least eighths of its size whose sides are no shorter

# What EXIF's orientations ask for, in NumPy on (H, W).
UPRIGHT = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.T,
    6: lambda x: x[::-1].T,
    7: lambda x: x[::-1, ::-1].T,
    8: lambda x: x.T[::-1],
}
TAGS = ("exif", "Raw profile type exif", "Raw profile type APP1", "xmp", "XML:com.adobe.xmp")  # where Pillow finds EXIF
large_images = Lock()


@dataclass(frozen=True)
class Kind:
    """What an image is: Pillow's names of format and mode, and the traits that findings.CATEGORIES tells about."""

    format: str
    mode: str
    traits: tuple[str, ...] = ()


kind_of = lru_cache(Kind)  # one object for all images of a kind


@dataclass(frozen=True)
class Header:
    """An image before its pixels are read. `plain`: JPEG in grey or colour, whose tags hold nothing unexpected."""

    kind: Kind
    width: int
    height: int
    orientation: int
    plain: bool


class Look(NamedTuple):  # not a dataclass: there is one for each image, and these are made faster
    """`fault`: (category, why) of an image that cannot be read; `remark`: the same of one that can.

    kind: None where the header cannot be read; width, height: upright, or 0; grey: uint8 or float32 (H, W), upright, of
    any size, None where there is a fault.
    """

    kind: Kind | None = None
    width: int = 0
    height: int = 0
    fault: Why | None = None
    remark: Why | None = None
    grey: np.ndarray | None = None


def look(item: Item, channels: int, name: str) -> Look:
    """`item` as `decode(item, channels, name)` would find it."""
    if isinstance(item, np.ndarray):
        return look_at_array(item, channels, name)
    fault = fault_of_file(item) if isinstance(item, Path) else None if item else ("empty file", "has no bytes")
    if fault:
        return Look(fault=fault)
    content = read_jpeg(item) if isinstance(item, Path) else item if item[:3] == JPEG else None
    header = jpeg_header(content) if content is not None else None
    if content is None or header is None or not header.plain or channels not in (1, 3):
        return judged(item, channels, name, header or header_of(item))
    try:
        grey = simplejpeg.decode_jpeg(content, "GRAY", True, True, SMALL_SIDE, SMALL_SIDE)[:, :, 0]
    except ValueError as complaint:
        seen = judged(item, channels, name, header)
        hurt = seen.fault is None and "orrupt" in str(complaint)
        return seen._replace(remark=("damaged", first_line(complaint))) if hurt else seen
    if header.orientation != 1:
        grey = UPRIGHT[header.orientation](grey)
    return upright(header, None, None if content.endswith(b"\xff\xd9") else ("data behind the picture", ""), grey)


def upright(header: Header, fault: Why | None, remark: Why | None, grey: np.ndarray | None) -> Look:
    """The look of an image whose sides change places when its orientation says so."""
    sides = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
    return Look(header.kind, *sides, fault, remark, grey)


def look_at_array(item: np.ndarray, channels: int, name: str) -> Look:
    """Pixels (H, W, C): nothing to decode, but their channels may be others than are asked for."""
    kind = Kind("array", {1: "L", 3: "RGB"}.get(item.shape[2], f"{item.shape[2]} channels"))
    header = Header(kind, item.shape[1], item.shape[0], 1, plain=False)
    if item.shape[2] != channels:
        return judged(item, channels, name, header)
    return Look(kind, header.width, header.height, grey=item[:, :, 0] if item.shape[2] == 1 else item.mean(2))


def read_jpeg(path: Path) -> bytes | None:
    """The file's content when it is a JPEG; None when it is not, is very long, or fails to be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(3)
            return start + stream.read() if start == JPEG and path.stat().st_size <= WHOLE else None
    except OSError:
        return None


def jpeg_header(content: bytes) -> Header | None:
    """The header of JPEG content; None where there is none.

    Files of one camera or one program share their header to the byte, tags aside, so that Pillow need not read each.
    """
    scan = content.find(b"\xff\xda")
    end = scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")
    return shared_header(content[:end]) or header_of(content)


@lru_cache(1024)
def shared_header(head: bytes) -> Header | None:
    return header_of(head)


def header_of(item: Path | bytes) -> Header | None:
    """What Pillow finds before the pixels; None when it finds no image, or one of more pixels than it trusts."""
    try:
        with open_image(item, "") as image:
            orientation = orientation_of(image)
            plain = image.format == "JPEG" and image.mode in ("L", "RGB") and orientation is not None
            kind = kind_of(image.format or "", image.mode, traits_of(image, orientation or 1))
            return Header(kind, image.width, image.height, orientation or 1, plain)
    except Exception:  # hostile bytes raise all kinds in Pillow's plugins; `decode` judges what came of it
        return None


def orientation_of(image: Image.Image) -> int | None:
    """What EXIF says, 1 where it is silent; None where its tags are such that turning the image might fail.

    Tried on a single pixel with the same tags: turning an image reads and rewrites them.
    """
    if not any(tags in image.info for tags in TAGS) and not hasattr(image, "tag_v2"):
        return 1
    stand_in = Image.new("L", (1, 1))
    stand_in.info = dict(image.info)
    try:
        ImageOps.exif_transpose(stand_in)
        found = Image.Image.getexif(stand_in).get(ORIENTATION) or getattr(image, "tag_v2", {}).get(ORIENTATION, 1)
    except Exception:  # as above
        return None
    return found if found in UPRIGHT else 1


def traits_of(image: Image.Image, orientation: int) -> tuple[str, ...]:
    """What is unusual about an opened image, by findings.CATEGORIES."""
    deep = image.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    deep = deep or image.info.get("bit_depth", 8) > 8  # as the decoder of HEIF says
    profile = use_of_profile(image)
    try:
        many = getattr(image, "is_animated", False)
    except Exception:  # a second frame that is damaged; the first is what is read
        many = True
    still = image.format in ("TIFF", "MPO")
    held = {
        # the decoder of HEIF has turned the image already, and keeps what was asked for
        "turned": orientation != 1 or image.info.get("original_orientation") in UPRIGHT,
        "grey": image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"),
        "1-bit": image.mode == "1",
        "16-bit": deep,
        "palette": image.mode in ("P", "PA"),
        "transparency": image.has_transparency_data,
        "CMYK": image.mode == "CMYK",
        "colour profile": profile == "converts",
        "unusable profile": profile == "unusable",
        "animated": many and not still,
        "pages": many and still,
    }
    return tuple(trait for trait, has in held.items() if has)


def judged(item: Item, channels: int, name: str, header: Header | None) -> Look:
    """The verdict of `decode` itself."""
    large = header is None or header.width * header.height > LARGE
    try:
        with large_images if large else nullcontext():
            pixels = decode(item, channels, name).numpy()
            grey = grey_of(pixels)
    except DataError as fault:
        why = str(fault).removeprefix(name).strip().rsplit(": ", 1)[0]
    except Exception as fault:  # what Pillow's plugins raise on hostile bytes beyond what `decode` translates
        why = f"cannot be read ({type(fault).__name__}: {first_line(fault)})"
    else:
        if header is None:  # what Pillow does not open and `decode` does
            return Look(kind_of("npy", f"{len(pixels)} channels"), pixels.shape[2], pixels.shape[1], grey=grey)
        return upright(header, None, None, grey)
    fault_found = classified(item, why, header is not None)
    return upright(header, fault_found, None, None) if header else Look(None, 0, 0, fault_found)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """uint8 (C, H, W) -> float32 (H, W) of at most THIN pixels a side, means of those that they stand for: it is for
    comparing small copies."""
    rows, columns = (math.ceil(side / THIN) for side in pixels.shape[1:])
    if len(pixels) == 3:
        if (rows, columns) == (1, 1):
            return np.tensordot(LUMA, pixels, 1)
        grey = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
        return np.asarray(grey.reduce((columns, rows)), np.float32)
    return pixels[:, ::rows, ::columns].mean(0, dtype=np.float32)
