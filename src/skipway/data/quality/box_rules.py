"""Rules for the boxes of a data set: wrong annotations, corrected, tiny and duplicate boxes, and how large objects are.

The side of an object is the root of its box's area, in pixels of the upright image.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset, Split
from skipway.data.quality.issues import Bad, Issue, ObjectTable, group_issue, issue

TINY = 4  # pixels: an object's side below which it has hardly any texture
STRIDE = 8  # pixels of the input in a cell of a detector's finest map
CLIPPED, LEFT_OUT = 0, 1  # columns of BoxTargets.corrected
SAME_BOX = 0.95  # intersection over union above which two boxes of a class are the same object
LIMITS = (32.0**2, 96.0**2)  # square pixels, from which on COCO calls an object medium, and large


def boxes_of(dataset: Dataset) -> dict[str, tuple[Split, BoxTargets]]:
    """The splits with boxes, each with its targets; empty for data without boxes."""
    return {
        key: (split, split.targets) for key, split in dataset.splits.items() if isinstance(split.targets, BoxTargets)
    }


def bad_annotations(dataset: Dataset) -> Iterator[Bad]:
    """The images that are in no split because their annotations are wrong."""
    for split, name, why in dataset.bad_annotations:
        yield Bad(split, -1, name, why)


def annotation_issues(dataset: Dataset) -> Iterator[Issue]:
    """An issue for each image with wrong annotations; then, counted, the corrected, tiny and duplicate boxes."""
    for _, name, why in dataset.bad_annotations:
        category, _, what = why.partition(": ")
        yield issue(category, name, what)
    found: dict[str, dict[str, int]] = {}
    for split, targets in boxes_of(dataset).values():
        per_image = {"tiny object": tiny_objects(targets), "duplicate box": duplicate_boxes(targets)}
        if targets.corrected is not None:
            per_image["clipped box"] = targets.corrected[:, CLIPPED]
            per_image["box without area"] = targets.corrected[:, LEFT_OUT]
        for category, counts in per_image.items():
            counted = zip(split.names, counts.tolist(), strict=True)
            found.setdefault(category, {}).update({name: count for name, count in counted if count})
    for category, by_name in found.items():
        if by_name:
            yield counted_issue(category, by_name)
    yield from images_without_objects(dataset)


def counted_issue(category: str, counts: Mapping[str, int]) -> Issue:
    """One issue for the boxes of several images: `counts` by image; it names those with the most."""
    ordered = sorted(counts, key=lambda name: -counts[name])
    listed = group_issue(category, [f"{name} ({counts[name]:,})" for name in ordered])
    return issue(category, ordered[0], listed.detail, sum(counts.values()))


def images_without_objects(dataset: Dataset) -> Iterator[Issue]:
    for key, (split, targets) in boxes_of(dataset).items():
        empty = np.flatnonzero(targets.counted == 0)
        if len(empty):
            share = len(empty) / len(split)
            yield issue(
                "no objects",
                split.names[empty[0]],
                f"{len(empty):,} of {len(split):,} images in {key}, {share:.1%}",
                len(empty),
            )


def sides_of(targets: BoxTargets) -> np.ndarray:
    """The side of each object in pixels, float64 (K,)."""
    return np.sqrt(np.prod(targets.boxes[:, 2:] - targets.boxes[:, :2], axis=1))


def per_image(targets: BoxTargets, chosen: np.ndarray) -> np.ndarray:
    """The number of `chosen` boxes, bool (K,), in each image."""
    return np.bincount(np.repeat(np.arange(len(targets)), targets.counted)[chosen], minlength=len(targets))


def tiny_objects(targets: BoxTargets) -> np.ndarray:
    """The number of objects with a side below TINY pixels, in each image."""
    return per_image(targets, sides_of(targets) < TINY)


def duplicate_boxes(targets: BoxTargets) -> np.ndarray:
    """The number of boxes, in each image, that repeat an earlier box of the same class."""
    counts = np.zeros(len(targets), dtype=np.int64)
    for place in np.flatnonzero(targets.counted > 1).tolist():
        rows = targets.rows(place)
        same = intersection_over_union(targets.boxes[rows]) > SAME_BOX
        same &= targets.labels[rows, None] == targets.labels[None, rows]
        same &= ~(targets.crowd[rows, None] | targets.crowd[None, rows])
        counts[place] = np.triu(same, 1).any(0).sum()
    return counts


def intersection_over_union(boxes: np.ndarray) -> np.ndarray:
    """Of each box with each, (K, 4) -> (K, K)."""
    corner = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = (np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - corner).clip(0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / (areas[:, None] + areas[None] - shared)


def object_table(dataset: Dataset) -> ObjectTable | None:
    """The numbers and sizes of objects, the sizes of those in training images without crowds; None for data without
    boxes."""
    found = boxes_of(dataset)
    if not found:
        return None
    counts, without = {}, {}
    for key, (_, targets) in found.items():
        numbers = np.bincount(targets.labels, minlength=len(dataset.classes))
        counts[key] = dict(zip(dataset.classes, numbers.tolist(), strict=True))
        without[key] = int((targets.counted == 0).sum())
    used = found["train"][1]
    sides, single = sides_of(used), ~used.crowd
    kinds = np.digitize(used.areas, LIMITS)
    sizes = {
        name: (
            *np.bincount(kinds[single & (used.labels == label)], minlength=3).tolist(),
            round(float(np.median(sides[single & (used.labels == label)])), 1),
        )
        for label, name in enumerate(dataset.classes)
        if (single & (used.labels == label)).any()
    }
    longest = np.repeat(used.sizes.max(1), used.counted)
    needed, numbers = np.unique(np.ceil(STRIDE * longest / sides)[single].astype(int), return_counts=True)
    return ObjectTable(counts, without, sizes, dict(zip(needed.tolist(), numbers.tolist(), strict=True)))
