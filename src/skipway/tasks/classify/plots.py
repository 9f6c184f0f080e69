"""The confusion matrix and the reliability diagram of classes."""

from collections.abc import Sequence

import numpy as np

from skipway.reporting import confusion as matrices
from skipway.reporting import reliability
from skipway.reporting.reliability import Reliability


def confusion_map(confusion: np.ndarray, classes: Sequence[str]) -> str | None:
    """Images by class and predicted class, (classes, classes), as SVG; None for too many classes to draw."""
    correct, n = int(np.trace(confusion)), int(confusion.sum())
    description = f"Confusion matrix of {len(classes)} classes: {correct:,} of {n:,} images on the diagonal."
    return matrices.confusion_map(confusion, classes, description)


def reliability_diagram(bins: Reliability, key: str, several: bool) -> str:
    """The diagram of `bins` as SVG; `several`: they are of labels and not of images."""
    words = ("predicted probability", "had the label") if several else ("confidence", "correct")
    return reliability.reliability_diagram(bins, key, *words)
