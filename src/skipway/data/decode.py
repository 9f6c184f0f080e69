"""Decode a path, bytes or an array to a uint8 tensor (C, H, W): upright, 8-bit, without transparency.

Pillow decodes, because photographs come in more modes than faster decoders support; only an undamaged JPEG in grey or
colour, in sRGB, upright or reduced, is decoded by simplejpeg, which uses the same libjpeg-turbo and copies less. Errors
name the image.

`decode` reads every pixel. `decode_reduced` lets the codec of a JPEG leave out resolution that is not needed: at 1/2,
1/4 or 1/8 of the size. Which of the two is used stands in a network's `Preprocessing`, so that training and prediction
see the same pixels.

Conversions:

- Orientation follows EXIF, or a HEIF, AVIF or JPEG XL file's own metadata. Of an animation, the first frame is used.
- Colours are converted to sRGB by the image's profile; without a usable profile they are taken as sRGB.
- 16-bit grey is scaled by 1/257 and rounded, so that 65535 is 255; of 16-bit colour Pillow keeps the high byte, at
  most one level off. Floating point and 32-bit integers are refused: their white level is not known.
- Transparent pixels (alpha, palette, or a colour declared transparent) are blended with a background.
- CMYK without a profile becomes RGB by (1 - ink)(1 - black); so do Adobe's JPEGs, which store ink inverted.
- HEIF, AVIF and JPEG XL with more than 8 bits keep the high 8 bits.
- Grey is the luma of BT.601; 1-bit images are black and white.
- Other numbers of channels than 1 and 3 are read exactly as stored, ignoring profiles: an array's channels, an image's
  bands, or the pages of a TIFF.
"""

import io
import struct
import tokenize
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageChops, ImageOps, ImageSequence, UnidentifiedImageError

from skipway.data.colour import to_srgb, use_of_profile
from skipway.data.heif import DECODABLE, DecoderMissingError, require_decoder
from skipway.errors import DataError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    from skipway.data.dataset import Item

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
MAX_READ_AHEAD = 1 << 27  # bytes of a JPEG file that is read at once; Pillow reads larger ones in parts
ORIENTATION = 0x0112  # EXIF's tag
MAX_FILE_SIZE = 1 << 30  # bytes; 89 million pixels, the decoding limit, take 714 MB in four 16-bit channels
MODES = {1: "L", 3: "RGB"}
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width
REDUCTIONS = (8, 4, 2)  # by which a JPEG's codec can divide both sides
# how the stored pixels (H, W, C) become upright, by EXIF's orientation
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}
NPY = b"\x93NUMPY"
DECODE_ERRORS = (  # what Pillow and NumPy raise for invalid content
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    tokenize.TokenError,
    RuntimeError,  # from the AVIF decoder
)
# Pillow only warns above its pixel limit and raises above twice that; `decode` refuses both.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

BUILTIN_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy"}
)
SUFFIXES = BUILTIN_SUFFIXES | DECODABLE  # file name suffixes of images that can be decoded here


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint16 of any shape as uint8: divided by 257 and rounded; uint8 unchanged."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn exceptions from Pillow and NumPy into a DataError that names the image."""
    try:
        yield
    except DecoderMissingError as error:
        raise DataError(f"{name} {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read: remove or replace it") from None
    except DECODE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} cannot be read ({reason}): remove or replace it") from None


def require_file(item: Path, name: str) -> None:
    """Raises DataError for a pipe, device or folder, which could block, and for a file larger than MAX_FILE_SIZE."""
    size = item.stat().st_size  # raises OSError if it does not exist
    if not item.is_file():
        raise DataError(f"{name} is a folder, pipe or device, not a file: remove or replace it")
    if size > MAX_FILE_SIZE:
        raise DataError(f"{name} has {size:,} bytes, above the limit of {MAX_FILE_SIZE:,}: make it smaller")


def require_pixels(width: int, height: int, name: str) -> None:
    """Raises DataError for more pixels than Pillow's limit, before anything is decoded."""
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise DataError(f"{name} is {width} x {height} pixels, too large to decode safely: make it smaller")


def size_in_header(item: Path | bytes) -> tuple[int, int] | None:
    """Width and height in the header of an image that Pillow refuses for its size; None if they cannot be read.

    Uses the readers that Pillow's `open` tries; it checks their sizes against its limit only afterwards.
    """
    with item.open("rb") if isinstance(item, Path) else io.BytesIO(item) as stream:
        start = stream.read(16)
        for reader, accepts in list(Image.OPEN.values()):
            stream.seek(0)
            try:
                accepted = accepts is None or accepts(start)
                if accepted and not isinstance(accepted, str):  # a string says why an optional reader is missing
                    return reader(stream, "").size
            except Image.DecompressionBombError:
                return None
            except Exception:  # readers can raise anything on bytes of another format
                continue
    return None


@contextmanager
def open_image(item: Path | bytes, name: str) -> Iterator[Image.Image]:
    """Context with an encoded image whose header has been read. Raises DataError for more pixels than Pillow's limit,
    DecoderMissingError if the decoder is not installed, and what Pillow raises.

    The file is opened here, because Pillow leaves files open that it refuses.
    """
    with item.open("rb") if isinstance(item, Path) else io.BytesIO(item) as stream:
        try:
            try:
                image = Image.open(stream)
            except UnidentifiedImageError:
                if not require_decoder(item):
                    raise
                stream.seek(0)
                image = Image.open(stream)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            size = size_in_header(item)
            if size:
                require_pixels(*size, name)
            raise DataError(f"{name} is too large to decode safely ({first_line(error)}): make it smaller") from None
        require_pixels(image.width, image.height, name)
        yield image


def is_array(item: Path | bytes) -> bool:
    """Whether the item is in NumPy's .npy format."""
    return item.suffix.lower() == ".npy" if isinstance(item, Path) else item[: len(NPY)] == NPY


def open_array(item: Path | bytes) -> np.ndarray:
    """A .npy file or its bytes as a read-only view; nothing is unpickled. Raises OSError or ValueError."""
    if isinstance(item, Path):
        return np.lib.format.open_memmap(item, mode="r")
    stream = io.BytesIO(item)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, columns_first, dtype = header[np.lib.format.read_magic(stream)](stream)
    return np.frombuffer(item, dtype, offset=stream.tell()).reshape(shape, order="F" if columns_first else "C")


def pixels_of(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 (H, W, C) from uint8 or uint16, (H, W, C) or (H, W). Raises DataError for anything else."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not array.size:
        raise DataError(f"{name} has the shape {array.shape}: (height, width, channels) is required")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise DataError(f"{name} has dtype {array.dtype}: uint8 or uint16 is required")
    require_pixels(array.shape[1], array.shape[0], name)
    return eight_bits(array)


def read_array(item: Path | bytes, name: str) -> np.ndarray:
    """A .npy file or its bytes as uint8 (H, W, C). Raises DataError."""
    with translate_errors(name):
        if isinstance(item, Path):
            require_file(item, name)
        return pixels_of(open_array(item), name)


def channels_in(item: "Item", name: str) -> int:
    """The number of channels to open an image with: an array's own; 3 for any encoded image, grey ones too.

    Raises DataError for an array that cannot be read.
    """
    if isinstance(item, np.ndarray):
        return item.shape[2]
    return read_array(item, name).shape[2] if is_array(item) else 3


def from_sixteen_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey; the value that the file declares transparent becomes alpha."""
    values = np.asarray(image)
    grey = Image.fromarray(eight_bits(values.astype(np.uint16)))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def require_scale(image: Image.Image, name: str) -> None:
    """Raises DataError for pixel types whose white level is not known."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating point numbers" if image.mode == "F" else "32-bit integers"
        raise DataError(f"{name} holds {kind}, whose white level is not known: save it with 8 or 16 bits")


def as_mode(image: Image.Image, mode: str, background: Colour) -> Image.Image:
    """`image` in `mode`, "RGB" or "L": in sRGB, blended with `background` where transparent, 16 bits as 8."""
    profile, stored = image.info.get("icc_profile"), image.mode
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow assumes that every CMYK JPEG is Adobe's and has inverted it
    if image.mode.startswith("I"):
        image = from_sixteen_bits(image)
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(below, to_srgb(image.convert("RGBA"), profile, stored))
    else:
        image = to_srgb(image, profile, stored)
    return image if image.mode == mode else image.convert(mode)


def bands(image: Image.Image, channels: int, name: str) -> np.ndarray:
    """The stored bands, uint8 (H, W, channels); of a TIFF with one page per channel, the pages' grey values.

    Raises DataError if their number is not `channels`, or if pages differ in size.
    """
    paged = channels > 4 and image.format == "TIFF" and getattr(image, "n_frames", 1) == channels
    pages = []
    for page in ImageSequence.Iterator(image) if paged else [image]:
        require_scale(page, name)
        require_pixels(page.width, page.height * (channels if paged else 1), name)
        upright = ImageOps.exif_transpose(page)
        count = len(upright.getbands())
        if count != (1 if paged else channels):
            raise DataError(f"{name} has {count} channels ({upright.mode}), and {channels} are needed")
        pages.append(np.atleast_3d(eight_bits(np.asarray(upright))))
    if len({page.shape for page in pages}) > 1:
        raise DataError(f"{name} has pages of different sizes: all channels need the same size")
    return np.concatenate(pages, axis=2)


def reduction(image: Image.Image, least: int) -> int:
    """By how much the codec divides the sides of an opened JPEG so that the shorter one keeps at least `least` pixels;
    1 for `least` 0 and other formats."""
    if image.format != "JPEG" or not least:
        return 1
    return next((by for by in REDUCTIONS if min(image.size) >= by * least), 1)


def plain_jpeg(image: Image.Image, item: Path | bytes, mode: str, by: int) -> np.ndarray | None:
    """The pixels of a JPEG in `mode` and in sRGB, upright, its sides divided by `by`: uint8 (H, W, channels). None for
    any other image, or if it is damaged."""
    orientation = image.getexif().get(ORIENTATION, 1)
    if image.format != "JPEG" or image.mode != mode or (by == 1 and orientation != 1):
        return None  # Pillow turns large images faster than NumPy
    if use_of_profile(image) == "converts":
        return None
    if isinstance(item, Path):
        if item.stat().st_size > MAX_READ_AHEAD:
            return None
        item = item.read_bytes()
    width, height = (-(-side // by) for side in image.size)
    try:
        pixels = simplejpeg.decode_jpeg(
            item, "GRAY" if mode == "L" else mode, min_height=height, min_width=width, min_factor=by
        )
    except ValueError:  # it stops at damage that Pillow may tolerate
        return None
    turned = UPRIGHT.get(orientation)
    return turned(pixels) if turned else pixels


def read_image(item: Path | bytes, channels: int, name: str, background: Colour, least: int) -> "Pixels":
    """An encoded image, a JPEG with a shorter side of at least `least` pixels, 0: all of it. Raises DataError."""
    with translate_errors(name):
        if isinstance(item, Path):
            require_file(item, name)
        with open_image(item, name) as image:
            if channels not in MODES:
                return whole(bands(image, channels, name))
            require_scale(image, name)
            width, height = image.size
            by = reduction(image, least)
            sideways = by > 1 and image.getexif().get(ORIENTATION, 1) in SIDEWAYS
            pixels = plain_jpeg(image, item, MODES[channels], by)
            if pixels is None:
                if by > 1:
                    image.draft(None, (width // by, height // by))
                ImageOps.exif_transpose(image, in_place=True)
                pixels = np.array(as_mode(image, MODES[channels], background))
                pixels = pixels.reshape(*pixels.shape[:2], channels)
            if by == 1:
                return whole(pixels)
            return Pixels(pixels, (width, height) if sideways else (height, width))


class Pixels(NamedTuple):
    """Decoded pixels, uint8 (H, W, C), and the height and width of the upright image that they show."""

    values: np.ndarray
    size: tuple[int, int]


def whole(values: np.ndarray) -> Pixels:
    return Pixels(values, (values.shape[0], values.shape[1]))


class Decoded(NamedTuple):
    """A decoded image, uint8 (C, H, W), and the height and width that it has in full."""

    image: "Tensor"
    size: tuple[int, int]


def decode(item: "Item", channels: int, name: str, background: Colour = WHITE) -> "Tensor":
    """The image as uint8 (channels, H, W); 1 is grey, 3 colour. `name` is used in messages.

    `background` shows through transparent pixels of grey and colour images. Raises DataError, naming the image, if it
    cannot be read completely or does not have `channels` channels.
    """
    return decode_reduced(item, channels, name, background, 0).image


def decode_reduced(item: "Item", channels: int, name: str, background: Colour, least: int) -> Decoded:
    """As `decode`; a JPEG at the smallest of the codec's scales, 1, 1/2, 1/4 and 1/8, at which its shorter side has at
    least `least` pixels, 0: in full."""
    import torch  # here, because predicting with an export decodes and has no torch

    values, size = decode_pixels(item, channels, name, background, least)
    return Decoded(torch.from_numpy(values if values.flags.writeable else values.copy()).permute(2, 0, 1), size)


def decode_pixels(item: "Item", channels: int, name: str, background: Colour, least: int) -> Pixels:
    """As `decode_reduced`, contiguous in NumPy."""
    if isinstance(item, np.ndarray):
        pixels = whole(pixels_of(item, name))
    elif is_array(item):
        pixels = whole(read_array(item, name))
    else:
        pixels = read_image(item, channels, name, background, least)
    if pixels.values.shape[2] != channels:
        raise DataError(f"{name} has {pixels.values.shape[2]} channels, and {channels} are needed: use matching data")
    return Pixels(np.ascontiguousarray(pixels.values), pixels.size)
