"""Whether probabilities mean what they say, and the one number that mends most of it (Guo 2017, arXiv:1706.04599).

Temperature scaling divides a network's scores by a number fitted on images that it did not learn from. The order of the
classes stays, and with it the accuracy.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from skipway.tasks import Task

BINS = 15
FOLDS = 5
FEWEST = 30  # images to fit a temperature on: of fewer, the error before and after is chance
COLDEST, HOTTEST = 0.02, 50.0


@dataclass(frozen=True)
class Reliability:
    """Decisions in BINS bins of equal width by confidence: count, mean confidence, and share right, each (BINS,).

    A bin holds its upper end and not its lower one. An empty bin has confidence and share 0.
    """

    count: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of confidence and share right, weighted by count (sec. 2)."""
        return float((self.count * np.abs(self.confidence - self.right)).sum() / self.count.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """The decisions behind `probabilities` (n, classes), binned.

    labels (n,): a decision for each image, the most likely class, with its probability as confidence. labels
    (n, classes) of 0 and 1: a decision for each image and class, right where the image has the class.
    """
    if labels.ndim == 2:
        confidence, right = probabilities.ravel(), labels.ravel() > 0
    else:
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = (np.bincount(place, values, BINS) for values in (confidence, right))
    return Reliability(count, *(total / np.maximum(count, 1) for total in sums))


def fit_temperature(task: Task, scores: Tensor, labels: Tensor) -> float | None:
    """The temperature of the least loss on scores (n, outputs) and their labels.

    None where none between COLDEST and HOTTEST is: where every decision is right, colder is always better, and where
    the network is worse than chance, hotter is.
    """

    def loss(logarithm: float) -> float:
        return task.loss(scores / math.exp(logarithm), labels).item()

    ends = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x) if found.fun < min(map(loss, ends)) else None


def cross_fitted(task: Task, scores: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (n, outputs) for images that are also the ones to fit on: no image helps to choose its own.

    The images are dealt into FOLDS parts in turn; each part has the temperature that fits the others.
    """
    part = torch.arange(len(scores)) % FOLDS
    found = torch.empty_like(scores)
    for fold in range(min(FOLDS, len(scores))):
        others, own = part != fold, part == fold
        temperature = fit_temperature(task, scores[others], labels[others]) if others.any() else None
        found[own] = task.probabilities(scores[own], temperature or 1.0)
    return found
