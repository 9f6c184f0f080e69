"""Data sets, preprocessing and batches. `open_dataset` opens a data set by name or path."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from skipway.data.dataset import Dataset
from skipway.data.formats.cifar import open_cifar
from skipway.data.formats.csv import open_table
from skipway.data.formats.detection_layouts import find_detection_layout
from skipway.data.formats.digits import open_digits
from skipway.data.formats.folder import class_folders, images_below, open_folder
from skipway.data.formats.hub import open_hub, open_saved
from skipway.data.formats.parquet import open_parquet
from skipway.data.formats.pattern_folder import open_pattern_folder
from skipway.data.formats.webdataset import open_shards
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, require_only
from skipway.errors import DataError, UnknownNameError

SOURCES: dict[str, Callable[[], Dataset]] = {
    "digits": open_digits,
    "cifar10": lambda: open_cifar("cifar10"),
    "cifar100": lambda: open_cifar("cifar100"),
}
FILES: dict[str, Callable[[Path, ReadOptions], Dataset]] = {
    ".csv": open_table,
    ".tsv": open_table,
    ".parquet": open_parquet,
    ".tar": lambda path, reading: open_shards(str(path), reading),
}
SAVED = ("dataset_dict.json", "state.json")  # written by `save_to_disk` of the library datasets
KINDS = (
    f"a folder of class folders, a CSV or TSV table, parquet, tar shards, hf:owner/name on the hub, or "
    f"{', '.join(SOURCES)}"
)


def open_directory(folder: Path, reading: ReadOptions) -> Dataset:
    """The data set in a folder: saved by `datasets`, or parquet at any depth, or tar shards without images next to
    them, or images, labelled by folder or by a `label_pattern`. Raises DataError for object detection data."""
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
        raise DataError(layout.error_message(folder))
    return open_folder(folder)


def open_dataset(where: str, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open the data set `where`: a folder, a table, parquet, tar shards, a repository on the hub, or one of SOURCES.

    A path may be a pattern of tar shards ("train-{000..012}.tar"); write ./digits for a folder of that name.
    `reading` holds options that the files do not determine. The data set's name is `where`; with its `reading` it can
    be opened again. Raises SkipwayError, in one line, for anything else, and for an option that does not apply.
    """
    return replace(open_without_options(where, reading), reading=reading)


def open_without_options(where: str, reading: ReadOptions) -> Dataset:
    """`open_dataset`, except that the data set does not store its `reading` yet."""
    if where in SOURCES:
        require_only(reading, where)
        return SOURCES[where]()
    if where.startswith("hf:"):
        return open_hub(where, reading)
    path = Path(where)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{where[:200]} cannot be opened ({error.strerror}): give {KINDS}") from None
    if is_folder:
        return open_directory(path, reading)
    if is_file and path.suffix.lower() in FILES:
        return FILES[path.suffix.lower()](path, reading)
    if exists:
        what = "not a supported file type" if is_file else "a pipe or device"
        raise DataError(f"{where} is {what}: give {KINDS}")
    if any(c in where for c in "{*?[") and where.endswith(".tar"):
        return open_shards(where, reading)
    if "/" in where or "." in where:
        raise DataError(f"{where} does not exist: give {KINDS}")
    raise UnknownNameError("data set", where, SOURCES, f"give {KINDS}")
