"""Images in, batches out. `open_source` finds a data set by name or path."""

from collections.abc import Callable
from pathlib import Path

from skipway.data.cifar import open_cifar
from skipway.data.digits import open_digits
from skipway.data.folder import open_folder
from skipway.data.parquet import open_parquet
from skipway.data.source import Source
from skipway.errors import DataError, UnknownNameError

SOURCES: dict[str, Callable[[], Source]] = {
    "digits": open_digits,
    "cifar10": lambda: open_cifar("cifar10"),
    "cifar100": lambda: open_cifar("cifar100"),
}


def open_source(where: str) -> Source:
    """The data set called `where`, or in the folder or parquet file at `where` (write ./digits for a folder so named).

    Raises DataError or UnknownNameError, in one line, for anything that is no data set.
    """
    if where in SOURCES:
        return SOURCES[where]()
    path = Path(where)
    if path.is_file():
        if path.suffix == ".parquet":
            return open_parquet(path)
        raise DataError(f"{where} is a file: give a folder of class folders, a parquet file, or {', '.join(SOURCES)}")
    if path.is_dir():
        return open_parquet(path) if any(path.rglob("*.parquet")) else open_folder(path)
    if "/" in where or "." in where:
        raise DataError(
            f"{where} does not exist: give a folder of class folders, a parquet file, or {', '.join(SOURCES)}"
        )
    raise UnknownNameError("data set", where, SOURCES, f"it is neither a folder here nor one of {', '.join(SOURCES)}")
