"""Examinations kept in the user's cache, by what was examined: never in the folder of the data.

Files are known by name, size and time of their last change; images in memory by their content.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from skipway.data.findings import Examination, from_json, to_json
from skipway.data.shards import matching
from skipway.data.source import Source, Split
from skipway.data.stored import Stored
from skipway.download import cache_folder

FORM = "2"  # of what is examined and kept; another form does not reuse this one's


def status_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of last change in nanoseconds of a file; (-1, -1) where they cannot be told."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def behind(source: Source) -> list[Path]:
    """The files that hold the images of `source`, where many share a file; none where its name is no path."""
    path = Path(source.name)
    if path.is_dir():
        return sorted(Path(folder, file) for folder, _, files in os.walk(path) for file in files)
    if any(c in source.name for c in "{*?["):
        return matching(source.name)
    return [path] if path.is_file() else []


def contents(split: Split, files: list[Path]) -> Iterator[bytes]:
    """What tells a split's images from others: nothing more than `files` where they are stored in these."""
    if isinstance(split.items, np.ndarray):
        yield np.ascontiguousarray(split.items).tobytes()
    elif not (isinstance(split.items, Stored) and files):
        for item in split.items:
            if not isinstance(item, Path):
                yield len(item).to_bytes(8, "little") + bytes(item)


def version_of(package: str) -> str:
    """The version of an installed package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def key_of(source: Source, statuses: Sequence[tuple[int, int]], channels: int) -> str:
    """Hexadecimal digits that change with anything the examination depends on. `statuses`: of the items that are
    paths, in the order of train, val and test."""
    digest = hashlib.blake2b(digest_size=20)
    files = behind(source) if isinstance(source.train.items, Stored) else []
    held = [*statuses, *map(status_of, files)]
    programs = [(name, version_of(name)) for name in ("pillow", "pillow-heif", "simplejpeg", "skipway")]
    digest.update(repr((FORM, programs, source.name, source.classes, channels, held)).encode(errors="surrogateescape"))
    for key, split in source.splits.items():
        digest.update(repr((key, split.labels.shape, split.labels.dtype.str)).encode())
        digest.update(np.ascontiguousarray(split.labels).tobytes())
        digest.update("\0".join(split.names).encode(errors="surrogateescape"))
        for content in contents(split, files):
            digest.update(content)
    return digest.hexdigest()


def file_of(key: str) -> Path:
    return cache_folder() / "checks" / f"{key}.json"


def recall(key: str) -> Examination | None:
    """The examination kept under `key`; None where there is none that can be read."""
    try:
        return replace(from_json(file_of(key).read_text()), reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(key: str, examination: Examination) -> None:
    """Keep `examination` for the next time. A cache that cannot be written only costs time, so that is not said."""
    file = file_of(key)
    staged = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(to_json(examination))
        staged.replace(file)
