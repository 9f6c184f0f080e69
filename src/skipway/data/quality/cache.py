"""Cache of check results in the user's cache folder, never in the folder of the data.

Files are identified by name, size and modification time; images in memory by their content.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset, Split
from skipway.data.formats.webdataset import matching_files
from skipway.data.lazy_images import LazyImages
from skipway.data.quality.issues import CheckResult, from_json, to_json
from skipway.download import cache_folder

VERSION = "6"  # of the checks and of the stored results; results of other versions are not reused


def status_of(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds of a file; (-1, -1) if they cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def source_files(dataset: Dataset) -> list[Path]:
    """The files that contain the images of `dataset`, for shards; empty if its name is not a path."""
    path = Path(dataset.name)
    if path.is_dir():
        return sorted(Path(folder, file) for folder, _, files in os.walk(path) for file in files)
    if any(c in dataset.name for c in "{*?["):
        return matching_files(dataset.name)
    return [path] if path.is_file() else []


def contents(split: Split, files: list[Path]) -> Iterator[bytes]:
    """Bytes that identify a split's images in addition to `files`; none for images stored in these files."""
    if isinstance(split.items, np.ndarray):
        yield np.ascontiguousarray(split.items).tobytes()
    elif not (isinstance(split.items, LazyImages) and files):
        for item in split.items:
            if not isinstance(item, Path):
                yield len(item).to_bytes(8, "little") + bytes(item)


def version_of(package: str) -> str:
    """The version of an installed package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def key_of(dataset: Dataset, statuses: Sequence[tuple[int, int]], channels: int) -> str:
    """A hexadecimal key of everything that the result depends on. `statuses`: of the items that are paths, in the order
    of train, val and test."""
    digest = hashlib.blake2b(digest_size=20)
    files = source_files(dataset) if isinstance(dataset.train.items, LazyImages) else []
    all_statuses = [*statuses, *map(status_of, files)]
    versions = [(name, version_of(name)) for name in ("pillow", "pillow-heif", "simplejpeg", "skipway")]
    said = (dataset.bad_annotations, dataset.remarks)
    described = (VERSION, versions, dataset.name, dataset.classes, channels, all_statuses, said)
    digest.update(repr(described).encode(errors="surrogateescape"))
    for key, split in dataset.splits.items():
        digest.update(repr((key, len(split), split.targets.task)).encode() + split.targets.digest())
        if isinstance(split.targets, BoxTargets) and split.targets.corrected is not None:
            digest.update(split.targets.corrected.tobytes())  # says nothing to training, but is reported
        digest.update("\0".join(split.names).encode(errors="surrogateescape"))
        for content in contents(split, files):
            digest.update(content)
    return digest.hexdigest()


def file_of(key: str) -> Path:
    return cache_folder() / "checks" / f"{key}.json"


def load(key: str) -> CheckResult | None:
    """The result stored under `key`; None if there is no readable one."""
    try:
        return replace(from_json(file_of(key).read_text()), reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(key: str, result: CheckResult) -> None:
    """Store `result` for the next time. A cache that cannot be written only costs time, so errors are ignored."""
    file = file_of(key)
    staged = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(to_json(result))
        staged.replace(file)
