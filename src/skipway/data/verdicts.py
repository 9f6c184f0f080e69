"""From images that were looked at to findings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from skipway.data.duplicates import same_bytes, same_to_the_eye
from skipway.data.findings import Bad, Finding, finding, gathered
from skipway.data.folder import NO_CLASS
from skipway.data.heif import DECODERS
from skipway.data.look import Kind
from skipway.data.seen import Seen
from skipway.data.source import Source, Split, require_learnable
from skipway.errors import DataError

UNEVEN = 10  # times as many images as the smallest class: from here on the largest is said to outweigh it
LONG = 4  # times as long as wide: from here on the centre holds less than a quarter of the picture
LEAST_SIDE = 16  # pixels: of smaller images, different ones look alike (a handwritten 1 of 8 x 8 pixels like others)
SHOWN = 4  # images of a group that a finding names


@dataclass(frozen=True)
class Rows:
    """The images of all splits in one row, one split after the other."""

    splits: Mapping[str, Split]
    classes: Sequence[str]

    def place(self, i: int) -> tuple[str, int]:
        """The split of the i-th image, and its place there."""
        for key, split in self.splits.items():
            if i < len(split):
                return key, i
            i -= len(split)
        raise IndexError(i)

    def name(self, i: int) -> str:
        key, place = self.place(i)
        return self.splits[key].names[place]

    def label(self, i: int) -> tuple[int, ...]:
        """The image's class, or all its classes where it may have several."""
        key, place = self.place(i)
        label = self.splits[key].labels[place]
        return (int(label),) if label.ndim == 0 else tuple(np.flatnonzero(label).tolist())

    def told(self, i: int) -> str:
        labels = ", ".join(self.classes[label] for label in self.label(i)) or "no class"
        return f"{self.name(i)} ({self.place(i)[0]}, {labels})"


def bad_images(rows: Rows, seen: Seen) -> Iterator[Bad]:
    for i, (category, why) in seen.faults.items():
        yield Bad(*rows.place(i), rows.name(i), f"{category}: {why}")


def image_findings(rows: Rows, seen: Seen) -> Iterator[Finding]:
    """Images that cannot be read and those that are damaged, each by name; then everything unusual, counted."""
    for found in (seen.faults, seen.remarks):
        for i, (category, why) in found.items():
            if why:
                yield finding(category, rows.name(i), why)
    traits: dict[str, list[int]] = {}
    for i, (category, why) in seen.remarks.items():
        if not why:
            traits.setdefault(category, []).append(i)
    if any(kind and kind.traits for kind in set(seen.kinds)):
        for i, kind in enumerate(seen.kinds):
            for trait in kind.traits if kind and i not in seen.faults else ():
                traits.setdefault(trait, []).append(i)
    traits["thin"] = np.flatnonzero(seen.sides.max(1) > LONG * seen.sides.min(1)).tolist()
    traits["wrong ending"] = misnamed(rows, seen)
    for trait, places in traits.items():
        if places:
            yield gathered(trait, [rows.name(i) for i in places])


def misnamed(rows: Rows, seen: Seen) -> list[int]:
    """The readable images whose names end as another format's do."""
    heif = {ending: "HEIF" for ending, module in DECODERS.items() if module == "pillow_heif"}
    meant = Image.registered_extensions() | heif
    endings = [name[name.rfind(".") :].lower() for split in rows.splits.values() for name in split.names]

    def wrong(ending: str, kind: Kind | None) -> bool:
        known = kind is not None and kind.format not in ("", "array", "MPO")  # MPO: JPEGs behind each other, named so
        return known and ending in meant and meant[ending] != kind.format  # type: ignore[union-attr]

    strange = {pair for pair in set(zip(endings, seen.kinds, strict=True)) if wrong(*pair)}
    if not strange:
        return []
    pairs = enumerate(zip(endings, seen.kinds, strict=True))
    return [i for i, pair in pairs if pair in strange and i not in seen.faults]


def class_findings(source: Source) -> Iterator[Finding]:
    """Too few classes, classes that a split lacks, and classes of very unequal size."""
    if source.classes == (NO_CLASS,):
        return  # the folder's layout is what is wrong
    try:
        require_learnable(source)
    except DataError as fault:
        yield finding("one class", source.name, str(fault))
    count = len(source.classes)
    for key, split in source.splits.items():
        if len(split):
            absent = [name for name, n in zip(source.classes, split.counts(count), strict=True) if not n]
            if absent:
                yield gathered("missing class", [f"{key}: {name}" for name in absent])
    train = source.train.counts(count)
    filled = np.flatnonzero(train)
    if len(filled) > 1:
        least, most = filled[train[filled].argmin()], filled[train[filled].argmax()]
        if train[most] >= UNEVEN * train[least]:
            few, many = source.classes[least], source.classes[most]
            yield finding("imbalance", few, f"{train[least]:,} training images, '{many}' {train[most]:,}")


def twin_findings(rows: Rows, seen: Seen) -> Iterator[Finding]:
    """Images that are there twice: in two splits, under two labels, or merely twice; first byte for byte, then to the
    eye, where one of each group of equals stands for it."""
    exact = same_bytes(seen.digests)
    usable = (seen.sides.min(1) >= LEAST_SIDE) & seen.detailed
    usable[list(seen.faults)] = False
    greys = list(seen.greys)
    for group in exact:
        yield from group_findings(rows, group.tolist(), near=False)
        usable[group[1:]] = False
        for other in group[1:]:
            greys[other] = b""
    for group in same_to_the_eye(seen.thumbs, usable, greys):
        yield from group_findings(rows, group.tolist(), near=True)


def group_findings(rows: Rows, group: list[int], near: bool) -> Iterator[Finding]:
    """What it means that the images of `group` are the same."""
    more = f" and {len(group) - SHOWN:,} more" if len(group) > SHOWN else ""
    others = ", ".join(map(rows.told, group[1:SHOWN])) + more
    detail = f"{rows.told(group[0])} {'looks like' if near else 'is the same file as'} {others}"
    leaks = len({rows.place(i)[0] for i in group}) > 1
    conflicts = len({rows.label(i) for i in group}) > 1
    tallied = Counter(leak=leaks, conflict=conflicts, duplicate=not leaks and not conflicts)
    for category in tallied.elements():
        yield finding(f"near {category}" if near else category, rows.name(group[0]), detail, len(group) - 1)
