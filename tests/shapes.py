"""Drawn shapes with their boxes and masks: a data set for detection that needs seconds to learn."""

from dataclasses import replace

import numpy as np

from skipway.data.box_targets import BoxTargets, from_images
from skipway.data.dataset import Dataset, Split

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
