"""Images in, batches out. `open_source` finds a data set by name or path."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from skipway.data.cifar import open_cifar
from skipway.data.detection_layouts import find_detection_layout
from skipway.data.digits import open_digits
from skipway.data.folder import class_folders, images_below, open_folder
from skipway.data.hub import open_hub, open_saved
from skipway.data.parquet import open_parquet
from skipway.data.pattern_folder import open_pattern_folder
from skipway.data.reading import DEFAULT_READING, Reading, require_only
from skipway.data.shards import open_shards
from skipway.data.source import Source
from skipway.data.table import open_table
from skipway.errors import DataError, UnknownNameError

SOURCES: dict[str, Callable[[], Source]] = {
    "digits": open_digits,
    "cifar10": lambda: open_cifar("cifar10"),
    "cifar100": lambda: open_cifar("cifar100"),
}
FILES: dict[str, Callable[[Path, Reading], Source]] = {
    ".csv": open_table,
    ".tsv": open_table,
    ".parquet": open_parquet,
    ".tar": lambda path, reading: open_shards(str(path), reading),
}
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` of the library datasets leaves
KINDS = (
    f"a folder of class folders, a CSV or TSV table, parquet, tar shards, hf:owner/name on the hub, or "
    f"{', '.join(SOURCES)}"
)


def open_below(folder: Path, reading: Reading) -> Source:
    """The data set in a folder: saved by `datasets`, or parquet wherever in it, or tar shards without images beside, or
    images, whose classes are folders unless the reading has a pattern. Raises DataError for boxes around objects."""
    if reading.label_pattern:
        require_only(reading, str(folder), "label_pattern")
        return open_pattern_folder(folder, reading.label_pattern)
    if any((folder / name).is_file() for name in SAVED):
        return open_saved(folder, reading)
    endings = {file.rpartition(".")[2] for _, _, files in os.walk(folder) for file in files}
    if "parquet" in endings:
        return open_parquet(folder, reading)
    if "tar" in endings and not any(images_below(inside) for inside in class_folders(folder)):
        return open_shards(str(folder), reading)
    require_only(reading, str(folder))
    layout = find_detection_layout(folder)
    if layout:
        raise DataError(layout.refusal(folder))
    return open_folder(folder)


def open_source(where: str, reading: Reading = DEFAULT_READING) -> Source:
    """The data set called `where`: a folder, a table, parquet, tar shards, a place on the hub, or one of SOURCES.

    A path may be a pattern of tar shards ("train-{000..012}.tar"); write ./digits for a folder that is so named.
    `reading` says what the files leave open. The source's name is `where`, by which it opens again, with its `reading`.
    Raises SkipwayError, in one line, for anything else, and for a reading that the data set has no use for.
    """
    return replace(open_unmarked(where, reading), reading=reading)


def open_unmarked(where: str, reading: Reading) -> Source:
    """`open_source`, but for the reading, which the source does not keep yet."""
    if where in SOURCES:
        require_only(reading, where)
        return SOURCES[where]()
    if where.startswith("hf:"):
        return open_hub(where, reading)
    path = Path(where)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        exists = path.exists()
    except OSError as fault:
        raise DataError(f"{where[:200]} cannot be opened ({fault.strerror}): give {KINDS}") from None
    if is_folder:
        return open_below(path, reading)
    if is_file and path.suffix.lower() in FILES:
        return FILES[path.suffix.lower()](path, reading)
    if exists:
        what = "a file of another kind" if is_file else "a pipe or device"
        raise DataError(f"{where} is {what}: give {KINDS}")
    if any(c in where for c in "{*?[") and where.endswith(".tar"):
        return open_shards(where, reading)
    if "/" in where or "." in where:
        raise DataError(f"{where} does not exist: give {KINDS}")
    raise UnknownNameError("data set", where, SOURCES, f"give {KINDS}")
