"""What a data set is: named splits of items with labels, and how validation images are set aside.

An item is a path, the encoded bytes of an image, or a uint8 array (H, W, C); `decode` opens any of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skipway.data.reading import DEFAULT_READING, Reading
from skipway.data.stored import Stored
from skipway.data.stratify import held_by_class, held_by_labels
from skipway.errors import DataError

Item = Path | bytes | np.ndarray


@dataclass(frozen=True)
class Split:
    """Images and their labels by index. `names` says what to call each image in messages and results.

    labels: int64 (n,), a class for each image; or uint8 (n, classes) of 0 and 1, any number of classes for each.
    """

    items: Sequence[Item] | np.ndarray
    labels: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order. What is stored on disk stays there."""
        names = [self.names[i] for i in indices]
        if isinstance(self.items, np.ndarray | Stored):
            return Split(self.items[indices], self.labels[indices], names)
        return Split([self.items[i] for i in indices], self.labels[indices], names)

    def counts(self, classes: int) -> np.ndarray:
        """Images per class, (classes,); one of several classes counts for each."""
        if self.labels.ndim == 2:
            return self.labels.sum(0, dtype=np.int64)
        return np.bincount(self.labels, minlength=classes)


@dataclass(frozen=True)
class Source:
    """A data set: its name as `open_source` takes it, its class names, and up to three splits.

    left_out: (image's name, why) for each image that the data hold and no split has. reading: as it was given to
    `open_source`; with the name and this, the data set opens again as it is.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    reading: Reading = DEFAULT_READING

    @property
    def multilabel(self) -> bool:
        """Whether an image may have any number of classes, none too, instead of one."""
        return self.train.labels.ndim == 2

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def split(self, name: str) -> Split:
        """The split called `name`. Raises DataError when there is none."""
        if name not in self.splits:
            raise DataError(f"{self.name} has no split '{name}': it has {', '.join(self.splits)}")
        return self.splits[name]

    def judged_on(self) -> str:
        """The split that an honest figure comes from: test, or val where there is no test."""
        return "test" if self.test is not None else "val" if self.val is not None else "train"


def with_validation(source: Source, fraction: float, seed: int) -> Source:
    """`source` with `fraction` of each class's training images moved to val, unless it brings its own val.

    The cut depends on `seed` and the labels alone, so that it can be made again. A class keeps at least one training
    image. How the images are chosen: `stratify`.
    """
    if source.val is not None or fraction <= 0:
        return source
    held = held_by_labels if source.multilabel else held_by_class
    val = held(source.train.labels, len(source.classes), fraction, np.random.default_rng(seed))
    if not len(val):
        return source
    kept = np.setdiff1d(np.arange(len(source.train)), val)
    return replace(source, train=source.train.take(kept), val=source.train.take(val))


def require_learnable(source: Source) -> Source:
    """`source` unchanged. Raises DataError when there is nothing to tell apart: no training image, one class only, or,
    where images have any number of classes, none that some images have and others lack."""
    if not len(source.train):
        raise DataError(f"{source.name} has no training images: check the folder, or name another")
    if source.multilabel:
        counts = source.train.counts(len(source.classes))
        if not ((counts > 0) & (counts < len(source.train))).any():
            raise DataError(f"{source.name} has no class that some training images have and others lack: add some")
        return source
    present = np.unique(source.train.labels)
    if len(present) < 2:
        only = source.classes[int(present[0])]
        raise DataError(f"{source.name} has one class only ('{only}'): a classifier needs at least two class folders")
    return source


def fingerprint(source: Source) -> str:
    """A SHA-256 over every split's names, labels and contents (of files: their sizes), as hexadecimal digits."""
    digest = hashlib.sha256("\0".join(source.classes).encode())
    for key, split in source.splits.items():
        digest.update(key.encode() + split.labels.astype("<i8").tobytes())
        if split.labels.ndim == 2:
            digest.update(b"labels in columns")  # the same numbers as one class an image are other data
        if isinstance(split.items, np.ndarray):
            digest.update(np.ascontiguousarray(split.items).tobytes())
            continue
        for name, item in zip(split.names, split.items, strict=True):
            content = str(item.stat().st_size).encode() if isinstance(item, Path) else bytes(item)
            digest.update(name.encode(errors="surrogateescape") + b"\0" + content)
    return digest.hexdigest()


def match_classes(source: Source, classes: Sequence[str]) -> Source:
    """`source` relabelled to the order of `classes`, by name: never by position.

    Raises DataError naming the classes of `source` that `classes` lacks.
    """
    if tuple(classes) == source.classes:
        return source
    unknown = sorted(set(source.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{source.name} has classes that the network does not know: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; it knows {', '.join(classes[:5])}"
            f"{' ...' if len(classes) > 5 else ''}"
        )
    to = np.array([classes.index(name) for name in source.classes])

    def relabel(split: Split | None) -> Split | None:
        if split is None:
            return None
        if not source.multilabel:
            return replace(split, labels=to[split.labels])
        labels = np.zeros((len(split), len(classes)), dtype=split.labels.dtype)
        labels[:, to] = split.labels
        return replace(split, labels=labels)

    train = relabel(source.train)
    assert train is not None
    return replace(source, classes=tuple(classes), train=train, val=relabel(source.val), test=relabel(source.test))
