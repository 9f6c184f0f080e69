"""What is done about classes of unequal size: weights in the loss, or images drawn so that classes come up alike.

Everything is computed from all training labels, so that each of several processes comes to the same figures.
"""

import numpy as np

from skipway.data.source import Source
from skipway.training.recipes import Recipe

MOST = 100.0  # the largest weight of a tag's presence; its inverse is the smallest


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float32 weights in inverse proportion to each class's images; labels: (n,).

    Their mean over the images is 1. A class without an image weighs 0.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.divide(len(labels) / present, counts, out=np.zeros(classes), where=counts > 0).astype(np.float32)


def presence_weights(labels: np.ndarray) -> np.ndarray:
    """(classes,) float32: images without the class over those with it, between 1 / MOST and MOST; labels: (n, classes).

    1 where no image has the class.
    """
    having = labels.sum(0, dtype=np.int64)
    ratio = np.divide(len(labels) - having, having, out=np.ones(len(having)), where=having > 0)
    return ratio.clip(1 / MOST, MOST).astype(np.float32)


def drawing_chances(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n,) chances that sum to 1: a class is drawn, each present one alike, and then an image of it.

    With labels (n, classes) an image can be drawn through each of its classes, and images without one count as one
    class more.
    """
    if labels.ndim == 1:
        counts = np.bincount(labels, minlength=classes)
        return 1 / (counts[labels] * np.count_nonzero(counts))
    has = np.column_stack([labels, labels.sum(1) == 0])
    counts = has.sum(0, dtype=np.int64)
    return has @ np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0) / np.count_nonzero(counts)


def loss_weights(source: Source) -> np.ndarray:
    """(classes,) weights for the loss of the source's task."""
    labels = source.train.labels
    return presence_weights(labels) if source.multilabel else class_weights(labels, len(source.classes))


def describe(source: Source, recipe: Recipe) -> str:
    """How unequal the training classes are, and what is done about it, in a line."""
    counts = source.train.counts(len(source.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = f"{counts[most] / counts[least]:.3g} to 1" if counts[least] else "no image in train"
    text = (
        f"{len(counts)} classes, the largest '{source.classes[most]}' with {counts[most]:,} training images, "
        f"the smallest '{source.classes[least]}' with {counts[least]:,} ({ratio}); "
    )
    if recipe.balance == "sampler":
        return text + "balance sampler: every class is equally likely to be drawn, with replacement"
    if recipe.balance == "none":
        return text + "balance none: as they come"
    weights = loss_weights(source)
    text += f"balance weights: {weights.min():.3g} to {weights.max():.3g} in the loss"
    clipped = source.multilabel and bool(((weights == MOST) | (weights == np.float32(1 / MOST))).any())
    return text + (f", clipped at {1 / MOST:g} and {MOST:g}" if clipped else "")
