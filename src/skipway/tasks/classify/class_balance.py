"""Class weights and sampling weights for imbalanced classes.

Everything is computed from all training labels, so that all processes get the same values.
"""

import numpy as np

from skipway.data.dataset import Dataset

LARGEST_WEIGHT = 100.0  # the largest weight of a tag's presence; its inverse is the smallest


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32 weights, inversely proportional to the number of images of each class; labels: (n,).

    Their mean over the images is 1. A class without an image has weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.divide(len(labels) / present, counts, out=np.zeros(classes), where=counts > 0).astype(np.float32)


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """(classes,) float32: images without the class over those with it, clipped to
    [1 / LARGEST_WEIGHT, LARGEST_WEIGHT]; labels: (n, classes).

    1 where no image has the class.
    """
    having = labels.sum(0, dtype=np.int64)
    ratio = np.divide(len(labels) - having, having, out=np.ones(len(having)), where=having > 0)
    return ratio.clip(1 / LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)


def sampling_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n,) probabilities that sum to 1: a present class is drawn uniformly, and then an image of it.

    With labels (n, classes) an image can be drawn through each of its classes, and images without one form one more
    class.
    """
    if labels.ndim == 1:
        counts = np.bincount(labels, minlength=classes)
        return 1 / (counts[labels] * np.count_nonzero(counts))
    has = np.column_stack([labels, labels.sum(1) == 0])
    counts = has.sum(0, dtype=np.int64)
    return has @ np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0) / np.count_nonzero(counts)


def describe(dataset: Dataset, balance: str, weights: np.ndarray | None, clips: bool) -> str:
    """How imbalanced the training classes are, and what is done about it, in one line.

    weights: those of the loss; clips: whether they are limited to LARGEST_WEIGHT and its inverse.
    """
    counts = dataset.train.counts(len(dataset.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = f"{counts[most] / counts[least]:.3g} to 1" if counts[least] else "no image in train"
    text = (
        f"{len(counts)} classes, the largest '{dataset.classes[most]}' with {counts[most]:,} training images, "
        f"the smallest '{dataset.classes[least]}' with {counts[least]:,} ({ratio}); "
    )
    if balance == "sampler":
        return text + "balance sampler: every class is equally likely to be drawn, with replacement"
    if weights is None:
        return text + "balance none: not corrected"
    text += f"balance weights: {weights.min():.3g} to {weights.max():.3g} in the loss"
    clipped = clips and bool(((weights == LARGEST_WEIGHT) | (weights == np.float32(1 / LARGEST_WEIGHT))).any())
    return text + (f", clipped at {1 / LARGEST_WEIGHT:g} and {LARGEST_WEIGHT:g}" if clipped else "")
