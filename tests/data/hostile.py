"""Files as they turn up in folders of images, made from nothing: cut, mislabelled, odd, hostile.

FILES: name -> content. `populate` writes them into a class folder, with links, pipes and folders named like images.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms


def photo(seed: int, width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Coarse noise made smooth: no two seeds look alike, and JPEG has something to do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb_jpeg() -> bytes:
    """A JPEG whose header claims 65,000 x 65,000 pixels."""
    content = bytearray(encoded(photo(1), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(content)


def scrambled_jpeg() -> bytes:
    """A JPEG with wrong bytes in the middle of its picture: Pillow opens it without a word."""
    content = bytearray(encoded(photo(2, 200, 150), "JPEG"))
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(range(100, 140))
    return bytes(content)


def cmyk(adobe: bool) -> bytes:
    content = encoded(photo(3, mode="CMYK"), "JPEG")
    place = content.index(b"\xff\xee")  # the marker by which Adobe's say that ink is stored inverted
    return content if adobe else content[:place] + content[place + 16 :]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(10 + orientation), "JPEG", exif=exif)


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as held:
        held.writestr("inside.txt", "text")
    return stream.getvalue()


def bad_crc() -> bytes:
    content = bytearray(encoded(photo(4), "PNG"))
    content[content.index(b"IDAT") + 60] ^= 0xFF
    return bytes(content)


def transparent_palette() -> bytes:
    return encoded(photo(5).quantize(16), "PNG", transparency=bytes([0] * 8 + [255] * 8))


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


JPEG, PNG = encoded(photo(6), "JPEG"), encoded(photo(7), "PNG")
PROGRESSIVE = encoded(photo(8, 200, 150), "JPEG", progressive=True)
GIF, WEBP = encoded(photo(9), "GIF"), encoded(photo(20), "WEBP")
BMP, TIFF = encoded(photo(21), "BMP"), encoded(photo(22), "TIFF")
FRAMES = [photo(seed) for seed in (23, 24, 25)]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MOVING = {"save_all": True, "append_images": FRAMES[1:]}

FILES: dict[str, Callable[[], bytes]] = {
    "good.jpg": lambda: JPEG,
    "good.webp": lambda: WEBP,
    "good.bmp": lambda: BMP,
    "good.npy": lambda: array(np.asarray(photo(26))),
    "pickle.npy": lambda: array(np.array([{"a": 1}], dtype=object)),
    "progressive.jpg": lambda: PROGRESSIVE,
    "cut-3-bytes.jpg": lambda: JPEG[:3],
    "cut-header.jpg": lambda: JPEG[:200],
    "cut-half.jpg": lambda: JPEG[: len(JPEG) // 2],
    "cut-20.jpg": lambda: JPEG[:-20],
    "cut-end.jpg": lambda: JPEG[:-2],
    "cut-progressive.jpg": lambda: PROGRESSIVE[: len(PROGRESSIVE) // 2],
    "cut-header.png": lambda: PNG[:30],
    "cut-half.png": lambda: PNG[: len(PNG) // 2],
    "cut-half.gif": lambda: GIF[: len(GIF) // 2],
    "cut-half.webp": lambda: WEBP[: len(WEBP) // 2],
    "cut-half.bmp": lambda: BMP[: len(BMP) // 2],
    "cut-half.tif": lambda: TIFF[:4] + struct.pack("<I", 60_000) + TIFF[8:],
    "empty.jpg": lambda: b"",
    "text.jpg": lambda: b"a list of things\nto do",
    "page.jpg": lambda: b"<!DOCTYPE html><html>404</html>",
    "drawing.jpg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "archive.jpg": archive,
    "document.jpg": lambda: b"%PDF-1.7\n",
    "noise.jpg": lambda: np.random.default_rng(0).bytes(2000),
    "really-png.jpg": lambda: encoded(photo(27), "PNG"),
    "deep-grey.png": lambda: encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG"),
    "deep-colour.png": lambda: png(8, 8, 16, 2, b"".join(b"\0" + bytes(range(48)) for _ in range(8))),
    "float.tif": lambda: encoded(Image.fromarray(np.eye(16, dtype=np.float32)), "TIFF"),
    "print.jpg": lambda: cmyk(adobe=False),
    "adobe.jpg": lambda: cmyk(adobe=True),
    "palette.png": transparent_palette,
    "grey-alpha.png": lambda: encoded(photo(28, mode="LA"), "PNG"),
    "alpha.png": lambda: encoded(photo(29, mode="RGBA"), "PNG"),
    "bit.png": lambda: encoded(photo(30, mode="1"), "PNG"),
    "grey.jpg": lambda: encoded(photo(31, mode="L"), "JPEG"),
    "moving.gif": lambda: encoded(FRAMES[0], "GIF", **MOVING),
    "moving.webp": lambda: encoded(photo(32), "WEBP", **MOVING),
    "moving.png": lambda: encoded(photo(33), "PNG", **MOVING),
    "pages.tif": lambda: encoded(photo(34), "TIFF", **MOVING),
    "profile.jpg": lambda: encoded(photo(35), "JPEG", icc_profile=PROFILE),
    **{f"exif-{i}.jpg": lambda i=i: turned(i) for i in range(1, 9)},
    "bad-exif.jpg": lambda: encoded(photo(36), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage"),
    "pixel.png": lambda: encoded(photo(37, 1, 1), "PNG"),
    "line.png": lambda: encoded(photo(38, 1, 20_000), "PNG"),
    "strip.jpg": lambda: encoded(photo(39, 20_000, 16), "JPEG"),
    "bomb.png": lambda: png(50_000, 50_000, 8, 2, bytes(10_000)),
    "bomb.jpg": bomb_jpeg,
    "bad-crc.png": bad_crc,
    "trailing.jpg": lambda: encoded(photo(40), "JPEG") + b"what a camera adds",
    "scrambled.jpg": scrambled_jpeg,
    "naïve-日本語.png": lambda: encoded(photo(41), "PNG"),
    f"{'long' * 60}.png": lambda: encoded(photo(42), "PNG"),
    "new\nline.png": lambda: encoded(photo(43), "PNG"),
    os.fsdecode(b"stray-\xff.png"): lambda: encoded(photo(44), "PNG"),
    ".hidden.jpg": lambda: JPEG,
    "Thumbs.db": lambda: b"\xd0\xcf\x11\xe0",
}


def populate(folder: Path) -> None:
    """All FILES in `folder`, which is made, and beside them what is no file: links, pipes, folders."""
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content())
    (folder / "loop-a.jpg").symlink_to("loop-b.jpg")
    (folder / "loop-b.jpg").symlink_to("loop-a.jpg")
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inner.png").write_bytes(encoded(photo(45), "PNG"))
    (folder / "elsewhere").symlink_to(folder.parent)
    (folder / "locked.jpg").write_bytes(encoded(photo(46), "JPEG"))
    (folder / "locked.jpg").chmod(0)
