"""A threshold for each class of tagging, chosen on val: the probability above which the class is predicted.

The threshold of the largest F1 on some images is too good on them, and for rare classes it is an accident of few images
(Lipton 2014: Thresholding Classifiers to Maximize F1 Score, arXiv:1402.1892, section 5). So a class keeps THRESHOLD

- with fewer than FEWEST images that have it, or that do not have it; and
- where thresholds that are each chosen on four fifths of the images give the other fifths no larger F1 than THRESHOLD.

Thresholds are between LOWEST and HIGHEST.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skipway.tasks.classify.prediction import THRESHOLD

FEWEST = 10
LOWEST, HIGHEST = 0.02, 0.98
KEY = "thresholds"  # in the metrics of val


def best_threshold(probabilities: np.ndarray, present: np.ndarray) -> float:
    """The threshold of the largest F1 for probabilities (n,) of a class that images have, or not, `present` (n,) bool;
    of equal ones the nearest to THRESHOLD. Between two probabilities it is in the middle."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(present[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + present.sum())
    below = np.append(ranked[1:], 0.0)
    cuts = np.clip((ranked + below) / 2, LOWEST, HIGHEST)
    possible = (ranked > cuts) & (below <= cuts)  # else it would not divide these images here
    if not possible.any():
        return THRESHOLD
    best = np.flatnonzero(possible & (f1 == f1[possible].max()))
    return float(cuts[best[np.argmin(np.abs(cuts[best] - THRESHOLD))]])


def f1_of(predicted: np.ndarray, present: np.ndarray) -> float:
    """F1 of one class; 0 where it is neither predicted nor there."""
    total = int(predicted.sum() + present.sum())
    return 2 * int((predicted & present).sum()) / total if total else 0.0


def threshold_of(probabilities: np.ndarray, present: np.ndarray) -> float:
    """The threshold of a class, THRESHOLD where another is not better on images that it was not chosen on."""
    from skipway.tasks.classify.calibration import FOLDS  # SciPy, which prediction does not need

    if min(present.sum(), (~present).sum()) < FEWEST:
        return THRESHOLD
    part = np.empty(len(present), np.int64)
    for value in (False, True):  # each part has its share of the images that have the class
        places = np.flatnonzero(present == value)
        part[places] = np.arange(len(places)) % FOLDS
    predicted = np.empty(len(present), bool)
    for fold in range(FOLDS):
        others, own = part != fold, part == fold
        predicted[own] = probabilities[own] > best_threshold(probabilities[others], present[others])
    if f1_of(predicted, present) <= f1_of(probabilities > THRESHOLD, present):
        return THRESHOLD
    return best_threshold(probabilities, present)


def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """A threshold for each class, for probabilities (n, classes) and labels (n, classes) of 0 and 1."""
    return [threshold_of(probabilities[:, i], labels[:, i] > 0) for i in range(labels.shape[1])]


def thresholds_in(metrics: Mapping[str, Any], classes: Sequence[str]) -> tuple[float, ...]:
    """Those in a card's `metrics`; none where there are none. Raises ValueError for others than one a class."""
    found = metrics.get("val", {}).get(KEY, [])
    valid = isinstance(found, list) and len(found) in (0, len(classes))
    if not valid or not all(isinstance(one, float) and 0 < one < 1 for one in found):
        raise ValueError(f"{KEY} are not a number between 0 and 1 for each class")
    return tuple(found)
