"""From a path, bytes or an array to a uint8 tensor (C, H, W): upright, eight bits, without transparency.

Pillow decodes, because photographs come in more modes than any faster decoder takes; only an upright JPEG in grey or
colour, in sRGB, without a flaw, goes the shorter way of simplejpeg, which calls the same libjpeg-turbo and copies less.
Every image is decoded in full, for training as for prediction, so that both see the same pixels. A fault names the
image. What becomes of which:

- Orientation as EXIF says, or as a HEIF or AVIF file itself says. Of an animation, the first frame.
- Colours become sRGB by the image's profile; without one, or with one that cannot be used, they are taken as sRGB.
- 16-bit grey is scaled by 1/257, rounded, so that 65535 is 255; of 16-bit colour Pillow keeps the high byte, at most
  one level beside that. Floating point and 32-bit integers are refused: nothing says what their white is.
- Transparency (alpha, a palette's, a colour named transparent) is laid over a background.
- CMYK without a profile becomes RGB by (1 - ink)(1 - black); JPEGs of Adobe's, which store ink inverted, likewise.
- 10 and 12 bits of HEIF and AVIF keep their high eight.
- Grey is the luma of BT.601; one bit is black and white.
- Counts of channels but 1 and 3 are taken exactly as stored, whatever the profile: an array's, an image's bands, or
  the pages of a TIFF.
"""

import io
import struct
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageChops, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from skipway.data.colour import to_srgb, use_of_profile
from skipway.data.heif import DECODABLE, INSTALL, DecoderMissingError, require_decoder
from skipway.data.source import Item
from skipway.errors import DataError, first_line

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
WHOLE = 1 << 27  # bytes of a JPEG file that are read into memory at once; Pillow reads longer ones by and by
ORIENTATION = 0x0112  # EXIF's tag
LARGEST = 1 << 30  # bytes of a file; 89 million pixels, the most that is decoded, are 714 MB with four times 16 bits
MODES = {1: "L", 3: "RGB"}
NPY = b"\x93NUMPY"
DAMAGE = (  # what Pillow and NumPy raise for content that is not what it says
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    tokenize.TokenError,
    RuntimeError,  # the decoder of AVIF
)
# Pillow only warns of images past its limit, and raises from twice that on; `decode` refuses both.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

PLAIN = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy"})
SUFFIXES = PLAIN | DECODABLE  # how the names of files end that are images and can be decoded here


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint16 of any shape as uint8: divided by 257 and rounded; uint8 as it is."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Turns what Pillow and NumPy raise within into a DataError that names the image."""
    try:
        yield
    except DecoderMissingError as fault:
        raise DataError(f"{name} {fault}: {INSTALL}") from None
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read: remove or replace it") from None
    except DAMAGE as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(f"{name} cannot be read ({reason}): remove or replace it") from None


def require_file(item: Path, name: str) -> None:
    """Raises DataError for a pipe, device or folder, which would block or never end, and for a file past LARGEST."""
    size = item.stat().st_size  # raises OSError where there is nothing
    if not item.is_file():
        raise DataError(f"{name} is no file but a folder, pipe or device: remove or replace it")
    if size > LARGEST:
        raise DataError(f"{name} has {size:,} bytes, more than the {LARGEST:,} that an image may have: make it smaller")


def require_pixels(width: int, height: int, name: str) -> None:
    """Raises DataError for more pixels than Pillow's limit, before any is decoded."""
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise DataError(f"{name} is {width} x {height} pixels, too large to trust: make it smaller")


def claimed_size(item: Path | bytes) -> tuple[int, int] | None:
    """Width and height in the header of an image that Pillow will not open for its size; None where it hides them.

    By the readers that Pillow's `open` tries, which compares their sizes with its limit only afterwards.
    """
    with item.open("rb") if isinstance(item, Path) else io.BytesIO(item) as stream:
        start = stream.read(16)
        for reader, accepts in list(Image.OPEN.values()):
            stream.seek(0)
            try:
                taken = accepts is None or accepts(start)
                if taken and not isinstance(taken, str):  # words say why an optional reader is not there
                    return reader(stream, "").size
            except Image.DecompressionBombError:
                return None
            except Exception:  # of another kind's bytes, readers raise what they like
                continue
    return None


@contextmanager
def open_image(item: Path | bytes, name: str) -> Iterator[Image.Image]:
    """An encoded image, of which the header is read, while the context lasts. Raises DataError for one of more pixels
    than Pillow's limit, DecoderMissingError for one that needs a decoder which is not here, and what Pillow raises.

    The file is opened here, because Pillow leaves one open that it refuses.
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
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
            size = claimed_size(item)
            if size:
                require_pixels(*size, name)
            raise DataError(f"{name} is too large to trust ({first_line(fault)}): make it smaller") from None
        require_pixels(image.width, image.height, name)
        yield image


def is_array(item: Path | bytes) -> bool:
    """Whether the file or its content is in NumPy's format."""
    return item.suffix.lower() == ".npy" if isinstance(item, Path) else item[: len(NPY)] == NPY


def open_array(item: Path | bytes) -> np.ndarray:
    """A .npy file or its bytes as a read-only array over them; nothing is unpickled. Raises OSError or ValueError."""
    if isinstance(item, Path):
        return np.lib.format.open_memmap(item, mode="r")
    stream = io.BytesIO(item)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, columns_first, dtype = header[np.lib.format.read_magic(stream)](stream)
    return np.frombuffer(item, dtype, offset=stream.tell()).reshape(shape, order="F" if columns_first else "C")


def pixels_of(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 (H, W, C) from uint8 or uint16, (H, W, C) or (H, W). Raises DataError for any other."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not array.size:
        raise DataError(f"{name} has the shape {array.shape}: (height, width, channels) is needed")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise DataError(f"{name} holds {array.dtype} numbers: uint8 or uint16 are needed")
    require_pixels(array.shape[1], array.shape[0], name)
    return eight_bits(array)


def read_array(item: Path | bytes, name: str) -> np.ndarray:
    """A .npy file or its bytes as uint8 (H, W, C). Raises DataError."""
    with faults_of(name):
        if isinstance(item, Path):
            require_file(item, name)
        return pixels_of(open_array(item), name)


def channels_in(item: Item, name: str) -> int:
    """The channels that an image is best opened with: an array's own; 3 for any photograph, grey ones too.

    Raises DataError for an array that cannot be read.
    """
    if isinstance(item, np.ndarray):
        return item.shape[2]
    return read_array(item, name).shape[2] if is_array(item) else 3


def from_sixteen_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey; the value that the file calls transparent becomes alpha."""
    values = np.asarray(image)
    grey = Image.fromarray(eight_bits(values.astype(np.uint16)))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def require_scale(image: Image.Image, name: str) -> None:
    """Raises DataError for numbers of which nothing says what is white."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating point numbers" if image.mode == "F" else "32-bit integers"
        raise DataError(f"{name} holds {kind}, whose white is not known: save it with 8 or 16 bits")


def as_mode(image: Image.Image, mode: str, background: Colour) -> Image.Image:
    """`image` in `mode`, "RGB" or "L": in sRGB, transparency over `background`, 16 bits as 8."""
    profile, stored = image.info.get("icc_profile"), image.mode
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's and has inverted it
    if image.mode.startswith("I"):
        image = from_sixteen_bits(image)
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(below, to_srgb(image.convert("RGBA"), profile, stored))
    else:
        image = to_srgb(image, profile, stored)
    return image if image.mode == mode else image.convert(mode)


def bands(image: Image.Image, channels: int, name: str) -> np.ndarray:
    """The stored bands, uint8 (H, W, channels); of a TIFF with one page a channel, the pages' grey values.

    Raises DataError when there are more or fewer, or when pages differ in size.
    """
    paged = channels > 4 and image.format == "TIFF" and getattr(image, "n_frames", 1) == channels
    found = []
    for page in ImageSequence.Iterator(image) if paged else [image]:
        require_scale(page, name)
        require_pixels(page.width, page.height * (channels if paged else 1), name)
        upright = ImageOps.exif_transpose(page)
        held = len(upright.getbands())
        if held != (1 if paged else channels):
            raise DataError(f"{name} has {held} channels ({upright.mode}), and {channels} are needed")
        found.append(np.atleast_3d(eight_bits(np.asarray(upright))))
    if len({page.shape for page in found}) > 1:
        raise DataError(f"{name} has pages of different sizes: one size for all channels is needed")
    return np.concatenate(found, axis=2)


def plain_jpeg(image: Image.Image, item: Path | bytes, mode: str) -> np.ndarray | None:
    """The pixels of an upright JPEG that is in `mode` and in sRGB, uint8 (H, W, channels); None for any other, or for a
    flaw."""
    if image.format != "JPEG" or image.mode != mode or image.getexif().get(ORIENTATION, 1) != 1:
        return None
    if use_of_profile(image) == "converts":
        return None
    if isinstance(item, Path):
        if item.stat().st_size > WHOLE:
            return None
        item = item.read_bytes()
    try:
        return simplejpeg.decode_jpeg(item, "GRAY" if mode == "L" else mode)
    except ValueError:  # it stops at flaws, some of which Pillow passes over
        return None


def read_image(item: Path | bytes, channels: int, name: str, background: Colour) -> np.ndarray:
    """An encoded image as uint8 (H, W, channels). Raises DataError."""
    with faults_of(name):
        if isinstance(item, Path):
            require_file(item, name)
        with open_image(item, name) as image:
            if channels not in MODES:
                return bands(image, channels, name)
            require_scale(image, name)
            plain = plain_jpeg(image, item, MODES[channels])
            if plain is not None:
                return plain
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.array(as_mode(image, MODES[channels], background))
            return pixels.reshape(*pixels.shape[:2], channels)


def decode(item: Item, channels: int, name: str, background: Colour = WHITE) -> Tensor:
    """The image as uint8 (channels, H, W); 1 is grey, 3 colour. `name` stands in messages.

    `background` shows through transparent pixels of grey and colour images. Raises DataError, naming the image, when it
    cannot be read whole or has other channels than are needed.
    """
    if isinstance(item, np.ndarray):
        pixels = pixels_of(item, name)
    else:
        pixels = read_array(item, name) if is_array(item) else read_image(item, channels, name, background)
    if pixels.shape[2] != channels:
        raise DataError(f"{name} has {pixels.shape[2]} channels, and {channels} are needed: use data of that kind")
    pixels = np.ascontiguousarray(pixels)
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
