"""A sequence of images stored in shards on disk, each read when it is accessed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from skipway.errors import DataError

PREFIXES = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


@dataclass(frozen=True)
class LazyImages(Sequence[bytes]):
    """Encoded images by index. `reader` returns the content at a position; `places` are the positions in this sequence.

    It stores eight bytes per image and no content, so taking a subset of a large set is cheap. The reader must work in
    threads and, pickled, in other processes.
    """

    reader: Callable[[int], bytes]
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: "slice | np.ndarray") -> "LazyImages": ...
    def __getitem__(self, index: "int | slice | np.ndarray") -> "bytes | LazyImages":
        if isinstance(index, slice | np.ndarray):
            return LazyImages(self.reader, self.places[index])
        return self.reader(int(self.places[index]))


def split_of(file: Path, root: Path) -> str | None:
    """The split that the name of a shard, or else of its folder in `root`, begins with: train, val, test, or None."""
    names = [file.name, *([file.parent.name] if file.parent != root else [])]
    return next((PREFIXES[p] for name in names for p in PREFIXES if name.lower().startswith(p)), None)


def by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Shards by split, in name order. A single file is the training set, whatever its name.

    Raises DataError if the name of one of several files does not give its split, and for a set without train.
    """
    if len(files) == 1:
        return {"train": list(files)}
    groups: dict[str, list[Path]] = {}
    for file in sorted(files):
        split = split_of(file, root)
        if split is None:
            raise DataError(f"{file} does not name its split: file names must begin with train, val or test")
        groups.setdefault(split, []).append(file)
    if "train" not in groups:
        raise DataError(f"{root} has no train*{files[0].suffix}: found {', '.join(f.name for f in sorted(files)[:5])}")
    return groups
