"""Encode class names, as read from files, as class indices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skipway.data.dataset import Dataset, Item, Split
from skipway.errors import DataError

Classes = str | tuple[str, ...]  # an image's class, or any number of them


@dataclass(frozen=True)
class NamedLabels:
    """A split with class names; `values` holds the class of as_tuple image, or a tuple of its classes."""

    items: Sequence[Item]
    values: Sequence[Classes]
    names: Sequence[str]


def as_tuple(value: Classes) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Unique class names in order: numerically if all are integers, otherwise alphabetically."""
    unique = sorted(set(names))
    return tuple(sorted(unique, key=int) if all(re.fullmatch(r"-?\d+", name) for name in unique) else unique)


def encode_split(part: NamedLabels, classes: Sequence[str], several: bool, where: str) -> Split:
    """`part` with its classes as int64 (n,) or, if an image may have `several`, as uint8 (n, classes) of 0 and 1.

    Raises DataError naming the first image with a class that is not in `classes`.
    """
    index = {name: i for i, name in enumerate(classes)}
    for name, value in zip(part.names, part.values, strict=True):
        unknown = next((v for v in as_tuple(value) if v not in index), None)
        if unknown is not None:
            raise DataError(
                f"{where}: {name} has the label {unknown!r}, which is not in train: correct it or leave the image out"
            )
    if not several:
        return Split(part.items, np.array([index[v] for v in part.values], dtype=np.int64), part.names)  # type: ignore[index]
    labels = np.zeros((len(part.values), len(classes)), dtype=np.uint8)
    for row, value in enumerate(part.values):
        labels[row, [index[v] for v in as_tuple(value)]] = 1
    return Split(part.items, labels, part.names)


def to_dataset(
    name: str,
    parts: Mapping[str, NamedLabels],
    classes: tuple[str, ...] = (),
    left_out: tuple[tuple[str, str], ...] = (),
) -> Dataset:
    """The data set `name` from `parts` by split. The classes are `classes` or, if empty, those of train in order.

    Without train, train is empty and the classes are those of all parts: such a set is for evaluation only.
    """
    train = parts.get("train", NamedLabels([], [], []))
    sources = [train] if len(train.values) else list(parts.values())
    classes = classes or sort_classes(one for part in sources for value in part.values for one in as_tuple(value))
    several = any(not isinstance(value, str) for part in parts.values() for value in part.values)
    splits = {key: encode_split(part, classes, several, name) for key, part in {"train": train, **parts}.items()}
    return Dataset(name, classes, splits["train"], splits.get("val"), splits.get("test"), left_out)
