"""What an encoded image may be: looked at before a library opens it, and again when one has, before it is decoded."""

import io

from PIL import Image, UnidentifiedImageError

from skipway.data.heif import DECODABLE, JPEG_XL, kind_of_brand, register, register_jxl
from skipway.data.image_headers import CODED, Header, HeaderError, read_header
from skipway.deploy.serve.limits import Limits, RefusedError
from skipway.errors import first_line

# Kinds that people's photographs come in; Pillow knows more, some of which run other programs.
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
TAKEN = (*KINDS, *["HEIF"] * (".heic" in DECODABLE), *["JXL"] * (".jxl" in DECODABLE))
QUICK_PIXELS = 16_000_000  # in all scans or frames together: a photograph, decoded in a fraction of a second


def formats_of(content: bytes) -> tuple[str, ...]:
    """The names by which Pillow knows the kinds that `content` may be of; it knows HEIF and JPEG XL only when told."""
    kind = kind_of_brand(content)
    if kind == "HEIF" and register():
        return (*KINDS, "HEIF")
    return (*KINDS, "JXL") if kind == JPEG_XL and register_jxl() else KINDS


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


def unknown(name: str) -> RefusedError:
    """422 for what is no image, or of a kind that is not taken."""
    return RefusedError(
        422, f"{name} is not an image of a kind that is taken: send {', '.join(TAKEN[:-1])} or {TAKEN[-1]}"
    )


def check_header(content: bytes, name: str, limits: Limits, coded: int = CODED) -> Header:
    """The Header of an encoded image, before any library opens it; of a JPEG the scans in `coded` bytes of it.

    Raises RefusedError (422) for more pixels, frames, scans or parts than are allowed. A progressive JPEG of a few
    kilobytes may hold thousands of scans, each of which goes over all pixels.
    """
    try:
        header = read_header(content, coded)
    except HeaderError as fault:
        raise RefusedError(422, f"{name} {fault}, which no photograph has: save it anew") from None
    if not header.kind:
        raise unknown(name)
    width, height, scans = header.width, header.height, header.scans
    if header.pixels > limits.pixels:
        raise RefusedError(
            422, f"{name} is {width} x {height} pixels, and {limits.pixels:,} are allowed: make it smaller"
        )
    if header.frames > limits.frames:
        raise RefusedError(422, f"{name} has more than the {limits.frames} frames that are allowed: send one of them")
    if scans > limits.scans:
        raise RefusedError(422, f"{name} has {scans} scans, and {limits.scans} are allowed: save it anew")
    if header.pixels * scans > limits.scanned:
        raise RefusedError(
            422,
            f"{name} has {scans} scans of {width} x {height} pixels, and {limits.scanned:,} pixels are allowed in all "
            "scans together: save it anew",
        )
    return header


def is_quick(header: Header) -> bool:
    """Whether an image takes so little, by all that there is in it, that a thread may decode it."""
    return header.simple and header.pixels * max(header.scans, header.frames) <= QUICK_PIXELS


def check_opened(content: bytes, name: str, limits: Limits) -> None:
    """Raise RefusedError (422) for what is no image of a kind that is taken, or has too many pixels or frames by what
    Pillow finds in its header. Nothing is decoded yet."""
    try:
        with Image.open(io.BytesIO(content), formats=formats_of(content)) as image:
            width, height = image.size
            if width * height > limits.pixels:
                raise RefusedError(
                    422, f"{name} is {width} x {height} pixels, and {limits.pixels:,} are allowed: make it smaller"
                )
            frames = frames_of(image, limits.frames)
    except Image.DecompressionBombError:
        raise RefusedError(
            422, f"{name} has more than the {limits.pixels:,} pixels that are allowed: make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise unknown(name) from None
    except RefusedError:
        raise
    except Exception as fault:  # a broken file can raise anything in the reader of its kind
        raise unreadable(name, fault) from None
    if frames > limits.frames:
        raise RefusedError(422, f"{name} has more than the {limits.frames} frames that are allowed: send one of them")


def check_image(content: bytes, name: str, limits: Limits) -> None:
    """`check_header`, of every byte, and `check_opened`."""
    check_header(content, name, limits, len(content))
    check_opened(content, name, limits)
