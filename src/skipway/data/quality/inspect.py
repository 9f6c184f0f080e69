"""Inspect one image: whether training can read it, its format and traits, and a grey copy to compare it by.

The result is that of `decode`, which training uses. Nearly all photographs are JPEG, for which there is a faster path
to the same result. Pillow reads the header, once for all images that share it; then libjpeg-turbo decodes the image at
an eighth of its size, in grey, which reads every byte but skips most of the arithmetic, and reports any damage, also
where Pillow does not. Only images with such a report are decoded in full.
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
from skipway.data.dataset import Item
from skipway.data.decode import MAX_READ_AHEAD, ORIENTATION, decode, open_image
from skipway.data.quality.decode_errors import JPEG, Why, classify_error, file_error
from skipway.errors import DataError, first_line

LARGE = 16_000_000  # pixels above which images are decoded one at a time, to limit memory
MAX_GREY_SIDE = 128  # maximum side in pixels of the grey copy of an image that was decoded in full
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as JPEG's own grey
SMALL_SIDE = 32  # pixels: a JPEG is decoded at the smallest scale, in eighths, with sides of at least this

# The transforms for EXIF orientations, in NumPy on (H, W).
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
    """Pillow's names of an image's format and mode, and its traits, which are keys of issues.CATEGORIES."""

    format: str
    mode: str
    traits: tuple[str, ...] = ()


kind_of = lru_cache(Kind)  # one object for all images of the same kind


@dataclass(frozen=True)
class Header:
    """The header of an image. `plain`: JPEG in grey or colour without unusual EXIF tags."""

    kind: Kind
    width: int
    height: int
    orientation: int
    plain: bool


class ImageInfo(NamedTuple):  # not a dataclass: there is one per image, and a tuple is created faster
    """`fault`: (category, reason) of an image that cannot be read; `remark`: the same for a problem of a readable one.

    kind: None if the header cannot be read; width, height: upright, or 0; grey: uint8 or float32 (H, W), upright, of
    any size, None if there is a fault.
    """

    kind: Kind | None = None
    width: int = 0
    height: int = 0
    fault: Why | None = None
    remark: Why | None = None
    grey: np.ndarray | None = None


def inspect_image(item: Item, channels: int, name: str) -> ImageInfo:
    """Inspect `item` as `decode(item, channels, name)` would read it."""
    if isinstance(item, np.ndarray):
        return inspect_array(item, channels, name)
    fault = file_error(item) if isinstance(item, Path) else None if item else ("empty file", "has no bytes")
    if fault:
        return ImageInfo(fault=fault)
    content = read_jpeg(item) if isinstance(item, Path) else item if item[:3] == JPEG else None
    header = jpeg_header(content) if content is not None else None
    if content is None or header is None or not header.plain or channels not in (1, 3):
        return check_decoded(item, channels, name, header or header_of(item))
    try:
        grey = simplejpeg.decode_jpeg(content, "GRAY", True, True, SMALL_SIDE, SMALL_SIDE)[:, :, 0]
    except ValueError as error:
        info = check_decoded(item, channels, name, header)
        damaged = info.fault is None and "orrupt" in str(error)
        return info._replace(remark=("damaged", first_line(error))) if damaged else info
    if header.orientation != 1:
        grey = UPRIGHT[header.orientation](grey)
    return make_info(header, None, None if content.endswith(b"\xff\xd9") else ("data behind the picture", ""), grey)


def make_info(header: Header, fault: Why | None, remark: Why | None, grey: np.ndarray | None) -> ImageInfo:
    """The `ImageInfo` of an image, with width and height swapped if its orientation requires it."""
    sides = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
    return ImageInfo(header.kind, *sides, fault, remark, grey)


def inspect_array(item: np.ndarray, channels: int, name: str) -> ImageInfo:
    """Inspect pixels (H, W, C): nothing to decode, but the number of channels may be wrong."""
    kind = Kind("array", {1: "L", 3: "RGB"}.get(item.shape[2], f"{item.shape[2]} channels"))
    header = Header(kind, item.shape[1], item.shape[0], 1, plain=False)
    if item.shape[2] != channels:
        return check_decoded(item, channels, name, header)
    return ImageInfo(kind, header.width, header.height, grey=item[:, :, 0] if item.shape[2] == 1 else item.mean(2))


def read_jpeg(path: Path) -> bytes | None:
    """The file's content if it is a JPEG; None if it is not, is very large, or cannot be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(3)
            return start + stream.read() if start == JPEG and path.stat().st_size <= MAX_READ_AHEAD else None
    except OSError:
        return None


def jpeg_header(content: bytes) -> Header | None:
    """The header of JPEG content; None if there is none.

    Files from one camera or program often have byte-identical headers apart from tags, so Pillow need not read each.
    """
    scan = content.find(b"\xff\xda")
    end = scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")
    return shared_header(content[:end]) or header_of(content)


@lru_cache(1024)
def shared_header(head: bytes) -> Header | None:
    return header_of(head)


def header_of(item: Path | bytes) -> Header | None:
    """The header as read by Pillow; None if it finds no image, or one with more pixels than its limit."""
    try:
        with open_image(item, "") as image:
            orientation = orientation_of(image)
            plain = image.format == "JPEG" and image.mode in ("L", "RGB") and orientation is not None
            kind = kind_of(image.format or "", image.mode, traits_of(image, orientation or 1))
            return Header(kind, image.width, image.height, orientation or 1, plain)
    except Exception:  # Pillow's plugins raise anything on malformed data; `decode` then reports the error
        return None


def orientation_of(image: Image.Image) -> int | None:
    """The EXIF orientation, 1 if there is none; None if the tags may make transposing the image fail.

    Tried on a single pixel with the same tags: transposing an image reads and rewrites them.
    """
    if not any(tags in image.info for tags in TAGS) and not hasattr(image, "tag_v2"):
        return 1
    dummy = Image.new("L", (1, 1))
    dummy.info = dict(image.info)
    try:
        ImageOps.exif_transpose(dummy)
        orientation = Image.Image.getexif(dummy).get(ORIENTATION) or getattr(image, "tag_v2", {}).get(ORIENTATION, 1)
    except Exception:  # as above
        return None
    return orientation if orientation in UPRIGHT else 1


def traits_of(image: Image.Image, orientation: int) -> tuple[str, ...]:
    """The unusual traits of an opened image, as keys of issues.CATEGORIES."""
    sixteen_bit = image.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    sixteen_bit = sixteen_bit or image.info.get("bit_depth", 8) > 8  # as reported by the HEIF decoder
    profile = use_of_profile(image)
    try:
        several_frames = getattr(image, "is_animated", False)
    except Exception:  # the second frame is damaged; only the first is read
        several_frames = True
    paged = image.format in ("TIFF", "MPO")
    traits = {
        # the HEIF decoder has already rotated the image, and keeps the original value
        "turned": orientation != 1 or image.info.get("original_orientation") in UPRIGHT,
        "grey": image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"),
        "1-bit": image.mode == "1",
        "16-bit": sixteen_bit,
        "palette": image.mode in ("P", "PA"),
        "transparency": image.has_transparency_data,
        "CMYK": image.mode == "CMYK",
        "colour profile": profile == "converts",
        "unusable profile": profile == "unusable",
        "animated": several_frames and not paged,
        "pages": several_frames and paged,
    }
    return tuple(trait for trait, has in traits.items() if has)


def check_decoded(item: Item, channels: int, name: str, header: Header | None) -> ImageInfo:
    """Inspect an image by decoding it in full."""
    large = header is None or header.width * header.height > LARGE
    try:
        with large_images if large else nullcontext():
            pixels = decode(item, channels, name).numpy()
            grey = to_grey(pixels)
    except DataError as error:
        why = str(error).removeprefix(name).strip().rsplit(": ", 1)[0]
    except Exception as error:  # exceptions of Pillow's plugins on malformed data that `decode` does not translate
        why = f"cannot be read ({type(error).__name__}: {first_line(error)})"
    else:
        if header is None:  # opened by `decode` but not by Pillow
            return ImageInfo(kind_of("npy", f"{len(pixels)} channels"), pixels.shape[2], pixels.shape[1], grey=grey)
        return make_info(header, None, None, grey)
    fault = classify_error(item, why, header is not None)
    return make_info(header, fault, None, None) if header else ImageInfo(None, 0, 0, fault)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """uint8 (C, H, W) -> float32 (H, W), sides of at most MAX_GREY_SIDE pixels by averaging; used for thumbnails."""
    rows, columns = (math.ceil(side / MAX_GREY_SIDE) for side in pixels.shape[1:])
    if len(pixels) == 3:
        if (rows, columns) == (1, 1):
            return np.tensordot(LUMA, pixels, 1)
        grey = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
        return np.asarray(grey.reduce((columns, rows)), np.float32)
    return pixels[:, ::rows, ::columns].mean(0, dtype=np.float32)
