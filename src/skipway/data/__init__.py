"""Images in, batches out. `open_source` finds a data set by name or path."""

import os
from collections.abc import Callable
from pathlib import Path

from skipway.data.cifar import open_cifar
from skipway.data.digits import open_digits
from skipway.data.folder import class_folders, images_below, open_folder
from skipway.data.hub import open_hub, open_saved
from skipway.data.parquet import open_parquet
from skipway.data.shards import open_shards
from skipway.data.source import Source
from skipway.data.table import open_table
from skipway.errors import DataError, UnknownNameError

SOURCES: dict[str, Callable[[], Source]] = {
    "digits": open_digits,
    "cifar10": lambda: open_cifar("cifar10"),
    "cifar100": lambda: open_cifar("cifar100"),
}
FILES: dict[str, Callable[[Path], Source]] = {
    ".csv": open_table,
    ".tsv": open_table,
    ".parquet": open_parquet,
    ".tar": lambda path: open_shards(str(path)),
}
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` of the library datasets leaves
KINDS = (
    f"a folder of class folders, a CSV or TSV table, parquet, tar shards, hf:owner/name on the hub, or "
    f"{', '.join(SOURCES)}"
)


def open_below(folder: Path) -> Source:
    """The data set in a folder: saved by `datasets`, or parquet wherever in it, or tar shards without images beside."""
    if any((folder / name).is_file() for name in SAVED):
        return open_saved(folder)
    endings = {file.rpartition(".")[2] for _, _, files in os.walk(folder) for file in files}
    if "parquet" in endings:
        return open_parquet(folder)
    if "tar" in endings and not any(images_below(inside) for inside in class_folders(folder)):
        return open_shards(str(folder))
    return open_folder(folder)


def open_source(where: str) -> Source:
    """The data set called `where`: a folder, a table, parquet, tar shards, a place on the hub, or one of SOURCES.

    A path may be a pattern of tar shards ("train-{000..012}.tar"); write ./digits for a folder that is so named. The
    source's name is `where`, by which it opens again. Raises SkipwayError, in one line, for anything else.
    """
    if where in SOURCES:
        return SOURCES[where]()
    if where.startswith("hf:"):
        return open_hub(where)
    path = Path(where)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        exists = path.exists()
    except OSError as fault:
        raise DataError(f"{where[:200]} cannot be opened ({fault.strerror}): give {KINDS}") from None
    if is_folder:
        return open_below(path)
    if is_file and path.suffix.lower() in FILES:
        return FILES[path.suffix.lower()](path)
    if exists:
        what = "a file of another kind" if is_file else "a pipe or device"
        raise DataError(f"{where} is {what}: give {KINDS}")
    if any(c in where for c in "{*?[") and where.endswith(".tar"):
        return open_shards(where)
    if "/" in where or "." in where:
        raise DataError(f"{where} does not exist: give {KINDS}")
    raise UnknownNameError("data set", where, SOURCES, f"give {KINDS}")
