"""Reliability of probabilities, and temperature scaling (Guo 2017, arXiv:1706.04599).

Temperature scaling divides a network's scores by a number fitted on images that it was not trained on. The order of the
classes does not change, nor does the accuracy.
"""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from skipway.reporting.reliability import Reliability
from skipway.tasks.classify.protocol import ScoresTask

BINS = 15
FOLDS = 5
FEWEST = 30  # images to fit a temperature on: with fewer, the error before and after is noise
COLDEST, HOTTEST = 0.02, 50.0


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """The predictions of `probabilities` (n, classes) in BINS bins, which include their upper ends and not their lower.

    labels (n,): a prediction for each image, the most likely class, with its probability as confidence. labels
    (n, classes) of 0 and 1: a prediction for each image and class, correct where the image has the class.
    """
    if labels.ndim == 2:
        confidence, correct = probabilities.ravel(), labels.ravel() > 0
    else:
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = (np.bincount(place, values, BINS) for values in (confidence, correct))
    return Reliability(count, *(total / np.maximum(count, 1) for total in sums))


def fit_temperature(task: ScoresTask, scores: Tensor, labels: Tensor) -> float | None:
    """The temperature with the lowest loss on scores (n, outputs) and their labels.

    None where it is not between COLDEST and HOTTEST: where every prediction is correct, lower is always better, and
    where the network is worse than chance, higher is.
    """

    def loss(logarithm: float) -> float:
        return task.score_loss(scores / math.exp(logarithm), labels).item()

    ends = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x) if found.fun < min(map(loss, ends)) else None


def cross_fitted(task: ScoresTask, scores: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (n, outputs), cross-fitted: no image affects the temperature that is applied to it.

    The images are divided into FOLDS parts; each part has the temperature fitted on the others.
    """
    part = torch.arange(len(scores)) % FOLDS
    probabilities = torch.empty_like(scores)
    for fold in range(min(FOLDS, len(scores))):
        others, own = part != fold, part == fold
        temperature = fit_temperature(task, scores[others], labels[others]) if others.any() else None
        probabilities[own] = task.class_probabilities(scores[own], temperature or 1.0)
    return probabilities
