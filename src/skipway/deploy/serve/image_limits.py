"""A look at an encoded image before it is decoded: what it is, and whether it is too much to decode."""

import io

from PIL import Image, UnidentifiedImageError

from skipway.data.heif import DECODABLE, kind_of_brand, register
from skipway.deploy.serve.limits import Limits, RefusedError
from skipway.errors import first_line

# Kinds that people's photographs come in; Pillow knows more, some of which run other programs.
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
TAKEN = (*KINDS, "HEIF") if ".heic" in DECODABLE else KINDS
START_OF_SCAN = b"\xff\xda"  # cannot stand within a JPEG's compressed data


def formats_of(content: bytes) -> tuple[str, ...]:
    """The names by which Pillow knows the kinds that `content` may be of; it knows HEIF only when told of it."""
    return TAKEN if kind_of_brand(content) == "HEIF" and register() else KINDS


def frames_of(image: Image.Image, most: int) -> int:
    """How many pictures `image` holds; for TIFF, which is slow to count, no more than `most` + 1 of them."""
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1)
    try:
        image.seek(most)
    except EOFError:
        return 1
    return most + 1


def unreadable(name: str, fault: Exception) -> RefusedError:
    """422 for an image whose reader raised `fault`."""
    return RefusedError(422, f"{name} cannot be read ({' '.join(first_line(fault).split())}): replace it")


def check_image(content: bytes, name: str, limits: Limits) -> None:
    """Raise RefusedError (422) for what is no image, or has too many pixels, frames or scans. Nothing is decoded yet.

    A progressive JPEG of a few kilobytes may hold thousands of scans, each of which goes over all pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats_of(content)) as image:
            width, height = image.size
            if width * height > limits.pixels:
                raise RefusedError(
                    422, f"{name} is {width} x {height} pixels, and {limits.pixels:,} are allowed: make it smaller"
                )
            frames, scans = frames_of(image, limits.frames), content.count(START_OF_SCAN)
    except Image.DecompressionBombError:
        raise RefusedError(
            422, f"{name} has more than the {limits.pixels:,} pixels that are allowed: make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise RefusedError(
            422, f"{name} is not an image of a kind that is taken: send {', '.join(TAKEN[:-1])} or {TAKEN[-1]}"
        ) from None
    except RefusedError:
        raise
    except Exception as fault:  # a broken file can raise anything in the reader of its kind
        raise unreadable(name, fault) from None
    if frames > limits.frames:
        raise RefusedError(422, f"{name} has more than the {limits.frames} frames that are allowed: send one of them")
    if image.format == "JPEG" and scans > limits.scans:
        raise RefusedError(422, f"{name} has {scans} scans, and {limits.scans} are allowed: save it anew")
