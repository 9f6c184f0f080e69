"""Classify why an image cannot be read: a category of issues.CATEGORIES and a reason."""

import os
import stat
from pathlib import Path

import numpy as np

from skipway.data.dataset import Item
from skipway.data.heif import JPEG_XL, MISSING, is_complete, kind_of_brand

Why = tuple[str, str]  # category, reason
JPEG = b"\xff\xd8\xff"  # first bytes
# First bytes of files that often have an image's name but are not images.
NON_IMAGES = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"%pdf", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
)
# First bytes of image formats, and whether a file is complete by its first bytes, its last bytes and its length.
COMPLETENESS = (
    (JPEG, lambda start, end, size: b"\xff\xd9" in end),
    (b"\x89PNG\r\n\x1a\n", lambda start, end, size: b"IEND" in end),
    (b"GIF8", lambda start, end, size: end.endswith(b";")),
    (b"RIFF", lambda start, end, size: int.from_bytes(start[4:8], "little") + 8 <= size),
    (b"BM", lambda start, end, size: int.from_bytes(start[2:6], "little") <= size),
    (b"II*\0", lambda start, end, size: int.from_bytes(start[4:8], "little") < size),
    (b"MM\0*", lambda start, end, size: int.from_bytes(start[4:8], "big") < size),
)


def file_error(path: Path) -> Why | None:
    """Why `path` cannot be opened as a file; found without opening it, because opening a pipe may block."""
    try:
        status = path.stat()
    except PermissionError:
        return "no permission", "cannot be read for lack of permission"
    except OSError as error:
        return "missing file", f"is a broken link ({error.strerror})" if path.is_symlink() else "does not exist"
    if not stat.S_ISREG(status.st_mode):
        return "not a file", "is a folder, pipe or device"
    if not status.st_size:
        return "empty file", "has no bytes"
    return None if os.access(path, os.R_OK) else ("no permission", "cannot be read for lack of permission")


def classify_error(item: Item, why: str, opened: bool) -> Why:
    """The category of an item that `decode` refused with the reason `why`, found from its bytes. `opened`: whether its
    header could be read."""
    if isinstance(item, np.ndarray):
        return "unreadable", why
    start, end, size = ends_of(item)
    if not opened:
        format_name = next(
            (f"is {what}" for magic, what in NON_IMAGES if start.lower().lstrip().startswith(magic)), None
        )
        if format_name:
            return "not an image", format_name
    if "too large" in why:
        return "too large", why
    if MISSING in why:
        return "missing decoder", why
    if kind_of_brand(start) == JPEG_XL:
        return "unreadable", why
    if kind_of_brand(start) is not None:
        return ("unreadable" if is_complete(item) else "truncated"), why
    complete = next((complete for magic, complete in COMPLETENESS if start.startswith(magic)), None)
    if complete is None and not opened:
        return "not an image", "is text" if start and is_text(start) else why
    return ("truncated" if complete and not complete(start, end, size) else "unreadable"), why


def ends_of(item: Path | bytes) -> tuple[bytes, bytes, int]:
    """An item's first bytes, last bytes and length."""
    if not isinstance(item, Path):
        return item[:512], item[-64:], len(item)
    try:
        with item.open("rb") as stream:
            start = stream.read(512)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 64))
            return start, stream.read(), size
    except OSError:
        return b"", b"", 0


def is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in (9, 10, 13) for byte in start)
