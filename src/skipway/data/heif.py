"""Decoders for HEIC, HEIF, AVIF and JPEG XL, the newer photo formats, and the error if none is installed.

Pillow decodes AVIF, and HEIC and HEIF through the package pillow-heif, JPEG XL through pylibjxl, which are imported and
registered with Pillow when the first such file is opened. Which suffixes can be decoded here is found out without
importing anything.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from PIL import UnidentifiedImageError

DECODERS = {  # modules
    ".heic": "pillow_heif",
    ".heif": "pillow_heif",
    ".hif": "pillow_heif",
    ".avif": "PIL._avif",
    ".jxl": "pylibjxl",
}
DECODABLE = frozenset(ending for ending, module in DECODERS.items() if find_spec(module))
UNDECODABLE = frozenset(DECODERS) - DECODABLE
INSTALL = "pip install 'skipway[heif]'"
INSTALL_JXL = "pip install 'skipway[jxl]'"
MISSING = "and its decoder is not installed"  # part of the message for such an image, by which it is recognised
# What follows the length and "ftyp" at the start of such a file (ISO/IEC 23008-12; AV1 Image File Format).
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
JPEG_XL = "JPEG XL"
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")  # ISO/IEC 18181-2: a codestream alone, and a container
registering = Lock()


class DecoderMissingError(UnidentifiedImageError):
    """An image whose decoder is not installed. The message says how to install it."""


def kind_of_brand(start: bytes) -> str | None:
    """HEIF, AVIF or JPEG XL, by the first 12 bytes of a file; None for any other file."""
    if start.startswith(JXL_STARTS):
        return JPEG_XL
    if start[4:8] != b"ftyp":
        return None
    return "HEIF" if start[8:12] in HEIF_BRANDS else "AVIF" if start[8:12] in AVIF_BRANDS else None


def start_of(item: Path | bytes) -> bytes:
    """The first 12 bytes. Raises OSError."""
    if isinstance(item, bytes):
        return item[:12]
    with item.open("rb") as stream:
        return stream.read(12)


def register() -> bool:
    """Register HEIF with Pillow, once; returns whether it is registered."""
    if ".heic" in UNDECODABLE:
        return False
    from PIL import Image

    with registering:
        if "HEIF" not in Image.OPEN:
            import pillow_heif

            pillow_heif.register_heif_opener()
    return True


def register_jxl() -> bool:
    """Register JPEG XL with Pillow, once; returns whether it is registered."""
    if ".jxl" in UNDECODABLE:
        return False
    with registering:
        import skipway.data.jxl  # noqa: F401 - registers it
    return True


def require_decoder(item: Path | bytes) -> bool:
    """Whether `item`, which Pillow did not recognise, is HEIF or JPEG XL, whose decoder is now registered.

    Raises DecoderMissingError for HEIF, AVIF and JPEG XL without an installed decoder, and OSError.
    """
    kind = kind_of_brand(start_of(item))
    if (kind == "HEIF" and register()) or (kind == JPEG_XL and register_jxl()):
        return True
    if kind in ("HEIF", JPEG_XL) or (kind == "AVIF" and ".avif" in UNDECODABLE):
        raise DecoderMissingError(f"is a {kind} image, {MISSING}: {INSTALL_JXL if kind == JPEG_XL else INSTALL}")
    return False


def install_for(suffixes: Iterable[str]) -> str:
    """How to install the decoders of files with these suffixes."""
    found = set(suffixes)
    return " and ".join([INSTALL] * bool(found - {".jxl"}) + [INSTALL_JXL] * (".jxl" in found))


def is_complete(item: Path | bytes) -> bool:
    """Whether the top-level boxes of an ISO base media file all end within it. Raises OSError."""
    content = item if isinstance(item, bytes) else item.read_bytes()
    position = 0
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if length == 1:  # the actual length follows in eight bytes
            length = int.from_bytes(content[position + 8 : position + 16], "big")
        if length == 0:  # the last box, up to the end
            return True
        if length < 8:
            return False
        position += length
    return position == len(content)
