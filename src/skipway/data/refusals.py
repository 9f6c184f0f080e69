"""Why an image cannot be read: the category of findings.CATEGORIES, and words for it."""

import os
import stat
from pathlib import Path

import numpy as np

from skipway.data.heif import MISSING, is_whole, kind_of_brand
from skipway.data.source import Item

Why = tuple[str, str]  # a category, and words
JPEG = b"\xff\xd8\xff"  # how one begins
# How files begin that come by as images and are none.
IMPOSTORS = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"%pdf", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
)
# How images begin, and how each tells that it is whole, by its first bytes, its last, and its length.
WHOLENESS = (
    (JPEG, lambda start, end, size: b"\xff\xd9" in end),
    (b"\x89PNG\r\n\x1a\n", lambda start, end, size: b"IEND" in end),
    (b"GIF8", lambda start, end, size: end.endswith(b";")),
    (b"RIFF", lambda start, end, size: int.from_bytes(start[4:8], "little") + 8 <= size),
    (b"BM", lambda start, end, size: int.from_bytes(start[2:6], "little") <= size),
    (b"II*\0", lambda start, end, size: int.from_bytes(start[4:8], "little") < size),
    (b"MM\0*", lambda start, end, size: int.from_bytes(start[4:8], "big") < size),
)


def fault_of_file(path: Path) -> Why | None:
    """Why `path` cannot be opened as a file; looked up without opening it, because a pipe would wait for ever."""
    try:
        status = path.stat()
    except PermissionError:
        return "no permission", "may not be read"
    except OSError as fault:
        return "missing file", f"is a link that leads nowhere ({fault.strerror})" if path.is_symlink() else "is gone"
    if not stat.S_ISREG(status.st_mode):
        return "not a file", "is a folder, pipe or device"
    if not status.st_size:
        return "empty file", "has no bytes"
    return None if os.access(path, os.R_OK) else ("no permission", "may not be read")


def classified(item: Item, why: str, opened: bool) -> Why:
    """The category of an item that `decode` refused with the words `why`, told by its own bytes. `opened`: whether its
    header could be read."""
    if isinstance(item, np.ndarray):
        return "unreadable", why
    start, end, size = ends_of(item)
    if not opened:
        named = next((f"is {what}" for magic, what in IMPOSTORS if start.lower().lstrip().startswith(magic)), None)
        if named:
            return "not an image", named
    if "too large" in why:
        return "too large", why
    if MISSING in why:
        return "missing decoder", why
    if kind_of_brand(start) is not None:
        return ("unreadable" if is_whole(item) else "truncated"), why
    whole = next((whole for magic, whole in WHOLENESS if start.startswith(magic)), None)
    if whole is None and not opened:
        return "not an image", "is text" if start and is_text(start) else why
    return ("truncated" if whole and not whole(start, end, size) else "unreadable"), why


def ends_of(item: Path | bytes) -> tuple[bytes, bytes, int]:
    """An item's first and last bytes and its length."""
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
