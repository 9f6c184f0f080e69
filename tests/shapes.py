"""Drawn shapes with their boxes, or with label maps: data sets for detection and segmentation, learnt in seconds."""

from dataclasses import replace

import numpy as np

from skipway.data.box_targets import BoxTargets, from_images
from skipway.data.dataset import Dataset, Split
from skipway.data.mask_targets import IGNORE, from_label_maps

SHAPES = ("disc", "square")
COLOURS = {"disc": (220, 60, 40), "square": (40, 90, 220)}


def inside(shape: str, size: int, side: int, left: int, top: int) -> np.ndarray:
    """(size, size) bool: the pixels of a shape whose box has sides of `side` pixels."""
    rows, columns = np.mgrid[0:size, 0:size]
    if shape == "square":
        return (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    middle = side / 2 - 0.5
    return (rows - top - middle) ** 2 + (columns - left - middle) ** 2 <= (side / 2) ** 2


def drawn(count: int, size: int = 96, seed: int = 0, most: int = 3) -> tuple[np.ndarray, BoxTargets]:
    """uint8 (count, size, size, 3) and their boxes: 1 to `most` shapes each, apart from one another."""
    rng = np.random.default_rng(seed)
    images = rng.integers(110, 150, (count, size, size, 3)).astype(np.uint8)
    objects: list[list[tuple]] = []
    for image in images:
        taken, found = np.zeros((size, size), dtype=bool), []
        for _ in range(rng.integers(1, most + 1)):
            side = int(rng.integers(size // 5, size // 3))
            left, top = (int(value) for value in rng.integers(0, size - side, 2))
            if taken[top : top + side, left : left + side].any():
                continue
            taken[top : top + side, left : left + side] = True
            label = int(rng.integers(len(SHAPES)))
            image[inside(SHAPES[label], size, side, left, top)] = COLOURS[SHAPES[label]]
            found.append(((left, top, left + side, top + side), label, False, float(side * side), None))
        objects.append(found)
    return images, from_images(objects, [(size, size)] * count)


def shapes(count: int = 16, size: int = 96, val: int = 4, most: int = 3) -> Dataset:
    """`count` images for training, and `val` others for validation and test each."""

    def split(number: int, seed: int) -> Split:
        images, targets = drawn(number, size, seed, most)
        return Split(images, targets, [f"{seed}-{i}" for i in range(number)])

    return Dataset("shapes", SHAPES, split(count, 0), split(val, 1), split(val, 2))


def repeated(dataset: Dataset, times: int) -> Dataset:
    """Each training image several times in an epoch, so that validation is seldom."""
    places = np.tile(np.arange(len(dataset.train)), times)
    return replace(dataset, train=dataset.train.take(places))


PIXEL_CLASSES = ("background", *SHAPES)


def label_map(targets: BoxTargets, place: int) -> np.ndarray:
    """uint8 (H, W): PIXEL_CLASSES of an image's pixels; those around the shapes are IGNORE."""
    size = int(targets.sizes[place][0])
    labels = np.zeros((size, size), dtype=np.uint8)
    rows = targets.rows(place)
    for (left, top, right, _), label in zip(targets.boxes[rows].astype(int), targets.labels[rows], strict=True):
        for side, value in ((right - left + 2, IGNORE), (right - left, label + 1)):
            margin = (side - (right - left)) // 2
            labels[inside(SHAPES[label], size, side, left - margin, top - margin)] = value
    return labels


def labelled_shapes(count: int = 16, size: int = 96, val: int = 4) -> Dataset:
    """The images of `shapes` with their label maps."""
    dataset = shapes(count, size, val)

    def labelled(split: Split | None) -> Split:
        assert split is not None
        assert isinstance(split.targets, BoxTargets)
        maps = [label_map(split.targets, i) for i in range(len(split))]
        return replace(split, targets=from_label_maps(maps, len(PIXEL_CLASSES)))

    return Dataset("shapes", PIXEL_CLASSES, *(labelled(s) for s in (dataset.train, dataset.val, dataset.test)))
