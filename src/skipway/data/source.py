"""What a data set is: named splits of items with labels, and how validation images are set aside.

An item is a path, the encoded bytes of an image, or a uint8 array (H, W, C); `decode` opens any of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skipway.errors import DataError

Item = Path | bytes | np.ndarray


@dataclass(frozen=True)
class Split:
    """Images and their labels by index. `names` says what to call each image in messages and results."""

    items: Sequence[Item] | np.ndarray
    labels: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order."""
        items = self.items[indices] if isinstance(self.items, np.ndarray) else [self.items[i] for i in indices]
        return Split(items, self.labels[indices], [self.names[i] for i in indices])

    def counts(self, classes: int) -> np.ndarray:
        """Images per class, (classes,)."""
        return np.bincount(self.labels, minlength=classes)


@dataclass(frozen=True)
class Source:
    """A data set: its name as `open_source` takes it, its class names, and up to three splits.

    left_out: (image's name, why) for each image that the data hold and no split has.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    def split(self, name: str) -> Split:
        """The split called `name`. Raises DataError when there is none."""
        found = {"train": self.train, "val": self.val, "test": self.test}.get(name)
        if found is None:
            held = ", ".join(key for key in ("train", "val", "test") if getattr(self, key) is not None)
            raise DataError(f"{self.name} has no split '{name}': it has {held}")
        return found

    def judged_on(self) -> str:
        """The split that an honest figure comes from: test, or val where there is no test."""
        return "test" if self.test is not None else "val" if self.val is not None else "train"


def with_validation(source: Source, fraction: float, seed: int) -> Source:
    """`source` with `fraction` of each class's training images moved to val, unless it brings its own val.

    The cut depends on `seed` and the labels alone, so that it can be made again. A class keeps at least one training
    image; scikit-learn's stratified split refuses classes of one, which real folders have.
    """
    if source.val is not None or fraction <= 0:
        return source
    rng = np.random.default_rng(seed)
    held: list[np.ndarray] = []
    for label in range(len(source.classes)):
        members = rng.permutation(np.flatnonzero(source.train.labels == label))
        held.append(members[: min(len(members) - 1, max(1, round(fraction * len(members)))) if len(members) else 0])
    val = np.sort(np.concatenate(held))
    if not len(val):
        return source
    kept = np.setdiff1d(np.arange(len(source.train)), val)
    return replace(source, train=source.train.take(kept), val=source.train.take(val))


def require_learnable(source: Source) -> Source:
    """`source` unchanged. Raises DataError when it has fewer than two classes or no training image."""
    if not len(source.train):
        raise DataError(f"{source.name} has no training images: check the folder, or name another")
    present = np.unique(source.train.labels)
    if len(present) < 2:
        only = source.classes[int(present[0])]
        raise DataError(f"{source.name} has one class only ('{only}'): a classifier needs at least two class folders")
    return source


def fingerprint(source: Source) -> str:
    """A SHA-256 over every split's names, labels and contents (of files: their sizes), as hexadecimal digits."""
    digest = hashlib.sha256("\0".join(source.classes).encode())
    for key in ("train", "val", "test"):
        split: Split | None = getattr(source, key)
        if split is None:
            continue
        digest.update(key.encode() + split.labels.astype("<i8").tobytes())
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
        return None if split is None else replace(split, labels=to[split.labels])

    train = replace(source.train, labels=to[source.train.labels])
    return replace(source, classes=tuple(classes), train=train, val=relabel(source.val), test=relabel(source.test))
