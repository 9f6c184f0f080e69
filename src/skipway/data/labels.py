"""From the names of classes, as files give them, to the numbers that a split holds."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skipway.data.source import Item, Source, Split
from skipway.errors import DataError

Classes = str | tuple[str, ...]  # an image's class, or any number of them


@dataclass(frozen=True)
class Named:
    """A split before its classes are numbered; `values` holds the class of each image, or a tuple of its classes."""

    items: Sequence[Item]
    values: Sequence[Classes]
    names: Sequence[str]


def each(value: Classes) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names once each: by number when all are whole numbers, otherwise by letter."""
    unique = sorted(set(names))
    return tuple(sorted(unique, key=int) if all(re.fullmatch(r"-?\d+", name) for name in unique) else unique)


def numbered(part: Named, classes: Sequence[str], several: bool, where: str) -> Split:
    """`part` with its classes as int64 (n,) or, when an image may have `several`, as uint8 (n, classes) of 0 and 1.

    Raises DataError naming the first image with a class that is not among `classes`.
    """
    place = {name: i for i, name in enumerate(classes)}
    for name, value in zip(part.names, part.values, strict=True):
        strange = next((v for v in each(value) if v not in place), None)
        if strange is not None:
            raise DataError(f"{where}: {name} has the label {strange!r}, which train lacks: correct it or leave it out")
    if not several:
        return Split(part.items, np.array([place[v] for v in part.values], dtype=np.int64), part.names)  # type: ignore[index]
    labels = np.zeros((len(part.values), len(classes)), dtype=np.uint8)
    for row, value in enumerate(part.values):
        labels[row, [place[v] for v in each(value)]] = 1
    return Split(part.items, labels, part.names)


def to_source(
    name: str,
    parts: Mapping[str, Named],
    classes: tuple[str, ...] = (),
    left_out: tuple[tuple[str, str], ...] = (),
) -> Source:
    """The data set called `name` of `parts` by split. Its classes are those given or, in order, those of train.

    Without train, train is empty and the classes are those of all parts: such a set can judge and not teach.
    """
    train = parts.get("train", Named([], [], []))
    seen = [train] if len(train.values) else list(parts.values())
    classes = classes or in_order(one for part in seen for value in part.values for one in each(value))
    several = any(not isinstance(value, str) for part in parts.values() for value in part.values)
    splits = {key: numbered(part, classes, several, name) for key, part in {"train": train, **parts}.items()}
    return Source(name, classes, splits["train"], splits.get("val"), splits.get("test"), left_out)
