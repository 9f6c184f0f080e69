"""Images that stay on disk, in files that hold many: read one at a time, in any order, when asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from skipway.errors import DataError

PREFIXES = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


@dataclass(frozen=True)
class Stored(Sequence[bytes]):
    """Encoded images by index. `reader` gives the content at a place; `places` are those that this sequence has.

    It holds eight bytes an image and none of its content, so that a part of a large set costs nothing to take. The
    reader must work in threads and, pickled, in other processes.
    """

    reader: Callable[[int], bytes]
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: "slice | np.ndarray") -> "Stored": ...
    def __getitem__(self, index: "int | slice | np.ndarray") -> "bytes | Stored":
        if isinstance(index, slice | np.ndarray):
            return Stored(self.reader, self.places[index])
        return self.reader(int(self.places[index]))


def split_of(file: Path, root: Path) -> str | None:
    """The split that a shard's name begins with, or else its folder's below `root`: train, val, test, or None."""
    names = [file.name, *([file.parent.name] if file.parent != root else [])]
    return next((PREFIXES[p] for name in names for p in PREFIXES if name.lower().startswith(p)), None)


def by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Shards by the split that they hold, in name order. A single file is the whole set, whatever its name.

    Raises DataError for one of several files that does not say its split, and for a set without train.
    """
    if len(files) == 1:
        return {"train": list(files)}
    groups: dict[str, list[Path]] = {}
    for file in sorted(files):
        split = split_of(file, root)
        if split is None:
            raise DataError(f"{file} does not say its split: names begin with train, val or test")
        groups.setdefault(split, []).append(file)
    if "train" not in groups:
        raise DataError(f"{root} has no train*{files[0].suffix}: found {', '.join(f.name for f in sorted(files)[:5])}")
    return groups
