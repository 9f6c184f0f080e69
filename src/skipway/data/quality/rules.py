"""Rules that turn the scanned images into issues."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset, Split, require_learnable
from skipway.data.formats.folder import NO_CLASS
from skipway.data.heif import DECODERS
from skipway.data.mask_targets import MaskTargets
from skipway.data.quality.duplicates import equal_digests, visual_duplicates
from skipway.data.quality.inspect import Kind
from skipway.data.quality.issues import Bad, Issue, group_issue, issue
from skipway.data.quality.scan import ScanResult
from skipway.errors import DataError

MAX_IMBALANCE = 10  # ratio of the largest to the smallest class from which on imbalance is reported
MAX_ASPECT = 4  # ratio of the sides above which the central crop has less than a quarter of the image
MIN_SIDE = 16  # pixels: different images look alike if they are smaller (such as handwritten digits of 8 x 8 pixels)
MAX_LISTED = 4  # images of a group that an issue names


@dataclass(frozen=True)
class Rows:
    """The images of all splits, concatenated."""

    splits: Mapping[str, Split]
    classes: Sequence[str]

    def locate(self, i: int) -> tuple[str, int]:
        """The split of the i-th image, and its index there."""
        for key, split in self.splits.items():
            if i < len(split):
                return key, i
            i -= len(split)
        raise IndexError(i)

    def name(self, i: int) -> str:
        key, index = self.locate(i)
        return self.splits[key].names[index]

    def label(self, i: int) -> tuple[int, ...]:
        """The image's class, or all its classes if it may have several."""
        key, index = self.locate(i)
        return self.splits[key].targets.classes_of(index)

    def holds_parts(self) -> bool:
        """Whether the images have boxes or masks: then their classes are those of parts of the image, and no label of
        it."""
        return any(isinstance(split.targets, BoxTargets | MaskTargets) for split in self.splits.values())

    def describe(self, i: int) -> str:
        split = self.locate(i)[0]
        if isinstance(self.splits[split].targets, MaskTargets):
            return f"{self.name(i)} ({split})"  # most images have pixels of most classes
        labels = ", ".join(self.classes[label] for label in self.label(i)) or "no class"
        return f"{self.name(i)} ({split}, {labels})"


def bad_images(rows: Rows, scan: ScanResult) -> Iterator[Bad]:
    for i, (category, why) in scan.faults.items():
        yield Bad(*rows.locate(i), rows.name(i), f"{category}: {why}")


def image_issues(rows: Rows, scan: ScanResult) -> Iterator[Issue]:
    """An issue for each unreadable or damaged image; then one for each unusual trait, with a count."""
    for reasons in (scan.faults, scan.remarks):
        for i, (category, why) in reasons.items():
            if why:
                yield issue(category, rows.name(i), why)
    traits: dict[str, list[int]] = {}
    for i, (category, why) in scan.remarks.items():
        if not why:
            traits.setdefault(category, []).append(i)
    if any(kind and kind.traits for kind in set(scan.kinds)):
        for i, kind in enumerate(scan.kinds):
            for trait in kind.traits if kind and i not in scan.faults else ():
                traits.setdefault(trait, []).append(i)
    if not rows.holds_parts():  # detectors and segmenters see the entire image
        traits["thin"] = np.flatnonzero(scan.sides.max(1) > MAX_ASPECT * scan.sides.min(1)).tolist()
    traits["wrong ending"] = wrong_suffixes(rows, scan)
    for trait, indices in traits.items():
        if indices:
            yield group_issue(trait, [rows.name(i) for i in indices])


def wrong_suffixes(rows: Rows, scan: ScanResult) -> list[int]:
    """The readable images whose suffix is that of another format."""
    heif = {suffix: "HEIF" for suffix, module in DECODERS.items() if module == "pillow_heif"}
    format_of = Image.registered_extensions() | heif
    suffixes = [name[name.rfind(".") :].lower() for split in rows.splits.values() for name in split.names]

    def mismatch(suffix: str, kind: Kind | None) -> bool:
        checked = kind is not None and kind.format not in (
            "",
            "array",
            "MPO",
        )  # MPO: concatenated JPEGs, with the suffix of JPEG
        return checked and suffix in format_of and format_of[suffix] != kind.format  # type: ignore[union-attr]

    mismatches = {pair for pair in set(zip(suffixes, scan.kinds, strict=True)) if mismatch(*pair)}
    if not mismatches:
        return []
    pairs = enumerate(zip(suffixes, scan.kinds, strict=True))
    return [i for i, pair in pairs if pair in mismatches and i not in scan.faults]


def class_issues(dataset: Dataset) -> Iterator[Issue]:
    """Issues of classes: too few, missing from a split, or, of whole images, of very unequal size."""
    if dataset.classes == (NO_CLASS,):
        return  # the problem is the folder's layout
    of_parts = isinstance(dataset.train.targets, BoxTargets | MaskTargets)
    try:
        require_learnable(dataset)
    except DataError as error:
        boxes = isinstance(dataset.train.targets, BoxTargets)
        yield issue("no boxes" if boxes else "one class", dataset.name, str(error))
    count = len(dataset.classes)
    for key, split in dataset.splits.items():
        if len(split):
            absent = [name for name, n in zip(dataset.classes, split.counts(count), strict=True) if not n]
            if absent:
                yield group_issue("missing class", [f"{key}: {name}" for name in absent])
    if of_parts:
        return  # an image has parts of frequent and of rare classes, so images cannot be balanced
    train = dataset.train.counts(count)
    filled = np.flatnonzero(train)
    if len(filled) > 1:
        least, most = filled[train[filled].argmin()], filled[train[filled].argmax()]
        if train[most] >= MAX_IMBALANCE * train[least]:
            few, many = dataset.classes[least], dataset.classes[most]
            yield issue("imbalance", few, f"{train[least]:,} training images, '{many}' has {train[most]:,}")


def duplicate_issues(rows: Rows, scan: ScanResult) -> Iterator[Issue]:
    """Duplicate images: across splits, across labels, or within a class; first exact, then visual duplicates, for which
    one image represents each group of exact duplicates."""
    exact = equal_digests(scan.digests)
    usable = (scan.sides.min(1) >= MIN_SIDE) & scan.detailed
    usable[list(scan.faults)] = False
    greys = list(scan.greys)
    for group in exact:
        yield from group_issues(rows, group.tolist(), near=False)
        usable[group[1:]] = False
        for other in group[1:]:
            greys[other] = b""
    for group in visual_duplicates(scan.thumbs, usable, greys):
        yield from group_issues(rows, group.tolist(), near=True)


def group_issues(rows: Rows, group: list[int], near: bool) -> Iterator[Issue]:
    """The issues of a group of duplicate images: leak, conflict or plain duplicate."""
    more = f" and {len(group) - MAX_LISTED:,} more" if len(group) > MAX_LISTED else ""
    others = ", ".join(map(rows.describe, group[1:MAX_LISTED])) + more
    detail = f"{rows.describe(group[0])} {'looks like' if near else 'is the same file as'} {others}"
    leaks = len({rows.locate(i)[0] for i in group}) > 1
    conflicts = not rows.holds_parts() and len({rows.label(i) for i in group}) > 1
    categories = Counter(leak=leaks, conflict=conflicts, duplicate=not leaks and not conflicts)
    for category in categories.elements():
        yield issue(f"near {category}" if near else category, rows.name(group[0]), detail, len(group) - 1)
