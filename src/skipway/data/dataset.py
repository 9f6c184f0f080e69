"""`Dataset` and `Split`: images with annotations, and holding out validation images.

An item is a path, the encoded bytes of an image, or a uint8 array (H, W, C); `decode` opens all of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from skipway.data.lazy_images import LazyImages
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.data.targets import ClassTargets, MultiLabelTargets, Targets, as_targets
from skipway.errors import DataError

Item = Path | bytes | np.ndarray


@dataclass(frozen=True)
class Split:
    """Images and their annotations by index. `names` are the images' names in messages and results.

    targets: `Targets`, or an array that is converted: int64 (n,), one class per image, or uint8 (n, classes) of 0 and
    1, any number of classes per image.
    """

    items: Sequence[Item] | np.ndarray
    targets: Targets
    names: Sequence[str]

    def __init__(self, items: Sequence[Item] | np.ndarray, targets: np.ndarray | Targets, names: Sequence[str]) -> None:
        for name, value in (("items", items), ("targets", as_targets(targets)), ("names", names)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> np.ndarray:
        """The array of class indices, or of 0 and 1. Raises DataError if the images have no classes."""
        if not isinstance(self.targets, ClassTargets | MultiLabelTargets):
            raise DataError(f"images annotated for the task {self.targets.task} have no classes")
        return self.targets.labels

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order. Images on disk are not read."""
        names, targets = [self.names[i] for i in indices], self.targets.take(indices)
        if isinstance(self.items, np.ndarray | LazyImages):
            return Split(self.items[indices], targets, names)
        return Split([self.items[i] for i in indices], targets, names)

    def counts(self, classes: int) -> np.ndarray:
        """Images per class, (classes,); an image with several classes counts for each."""
        return self.targets.counts(classes)


@dataclass(frozen=True)
class Dataset:
    """A data set: its name as given to `open_dataset`, its class names, and up to three splits.

    left_out: (image's name, reason) for each image of the data that is in no split. reading: as given to
    `open_dataset`; with the name and this, the data set can be opened again. bad_annotations: (split, image's name,
    "category: reason") for each image that is in no split because its annotations are wrong, until a check leaves it
    out or stops. remarks: lines for people on what was recognised when the data were read.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    reading: ReadOptions = DEFAULT_READ_OPTIONS
    bad_annotations: tuple[tuple[str, str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The name of the task that the annotations are for."""
        return self.train.targets.task

    @property
    def splits(self) -> dict[str, Split]:
        """The existing splits by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def split(self, name: str) -> Split:
        """The split called `name`. Raises DataError if it does not exist."""
        if name not in self.splits:
            raise DataError(f"{self.name} has no split '{name}': it has {', '.join(self.splits)}")
        return self.splits[name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every split's names, annotations and contents (of files: their sizes), in hexadecimal.

        Computed on first access and cached, because it reads every byte of shards.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for key, split in self.splits.items():
            digest.update(key.encode() + split.targets.digest())
            if isinstance(split.items, np.ndarray):
                digest.update(np.ascontiguousarray(split.items).tobytes())
                continue
            for name, item in zip(split.names, split.items, strict=True):
                content = str(item.stat().st_size).encode() if isinstance(item, Path) else bytes(item)
                digest.update(name.encode(errors="surrogateescape") + b"\0" + content)
        return digest.hexdigest()

    def eval_split(self) -> str:
        """The split to evaluate on: test, or val if there is no test, or else train."""
        return "test" if self.test is not None else "val" if self.val is not None else "train"


def with_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """`dataset` with `fraction` of each class's training images moved to val, unless it has a val split.

    The split depends only on `seed` and the labels, so it is reproducible. A class keeps at least one training image.
    How the images are chosen: `stratified_split`.
    """
    if dataset.val is not None or fraction <= 0:
        return dataset
    val = dataset.train.targets.hold_out(len(dataset.classes), fraction, np.random.default_rng(seed))
    if not len(val):
        return dataset
    train = np.setdiff1d(np.arange(len(dataset.train)), val)
    return replace(dataset, train=dataset.train.take(train), val=dataset.train.take(val))


def require_learnable(dataset: Dataset) -> Dataset:
    """`dataset` unchanged. Raises DataError if there is nothing to learn: no training image, only one class, or, in
    multi-label data, no class that some images have and others lack."""
    if not len(dataset.train):
        raise DataError(f"{dataset.name} has no training images: check the folder, or name another")
    dataset.train.targets.require_learnable(dataset.name, dataset.classes)
    return dataset


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """`dataset` relabelled to the order of `classes`, matched by name, never by position.

    Raises DataError naming the classes of `dataset` that are not in `classes`.
    """
    if tuple(classes) == dataset.classes:
        return dataset
    unknown = sorted(set(dataset.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{dataset.name} has classes that the network does not have: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; it has {', '.join(classes[:5])}"
            f"{' ...' if len(classes) > 5 else ''}"
        )
    new_index = np.array([classes.index(name) for name in dataset.classes])

    def relabel(split: Split | None) -> Split | None:
        return None if split is None else replace(split, targets=split.targets.relabel(new_index, len(classes)))

    train = relabel(dataset.train)
    assert train is not None
    return replace(dataset, classes=tuple(classes), train=train, val=relabel(dataset.val), test=relabel(dataset.test))
