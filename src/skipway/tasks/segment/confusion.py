"""Pixels counted by true and predicted class, and what follows from the counts.

Pixels of IGNORE are counted nowhere. A class that neither occurs nor is predicted has no IoU and is in no mean.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skipway.data.mask_targets import IGNORE

BINS = 15  # of confidence
TOLERANCE = 0.0075  # of the image's diagonal, by which a boundary may be off (Csurka 2013)


class ImageStatistics(NamedTuple):
    """What evaluation keeps of each of n images with C classes.

    confusion: int32 (n, C, C), pixels by true and predicted class. boundary: int32 (n, C, 4), pixels on predicted
    boundaries that are near a true one, on all predicted boundaries, on true boundaries near a predicted one, on all
    true boundaries. calibration: float64 (n, BINS, 3), by confidence, pixels, the sum of their confidence, and how many
    are correct. thumbnails: uint8 (n, h, w), the predicted classes in the network's input, reduced.
    """

    confusion: np.ndarray
    boundary: np.ndarray
    calibration: np.ndarray
    thumbnails: np.ndarray


# ---------------------------------------------------------------------------------------------------------------------
# Counting


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """int64 (C, C), pixels by true and predicted class, from label maps uint8 of any equal shape."""
    valid = truth != IGNORE
    cells = truth[valid].long() * classes + predicted[valid].long()
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes)


def calibration_bins(truth: Tensor, predicted: Tensor, confidence: Tensor) -> Tensor:
    """float64 (BINS, 3), as in `ImageStatistics`; confidence: float32 in [0, 1], of the predicted class."""
    valid = truth != IGNORE
    confidence, correct = confidence[valid].double(), (truth == predicted)[valid].double()
    place = (confidence * BINS).long().clamp(0, BINS - 1)
    found = [torch.bincount(place, minlength=BINS).double()]
    found += [torch.bincount(place, weights, minlength=BINS) for weights in (confidence, correct)]
    return torch.stack(found, 1)


def boundaries(labels: np.ndarray) -> np.ndarray:
    """bool (H, W): the pixels of a label map, uint8 (H, W), beside one of another class."""
    edge = np.zeros(labels.shape, dtype=bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def near(points: np.ndarray, others: np.ndarray, radius: int) -> int:
    """How many of `points`, int (n, 2), have one of `others`, int (m, 2), within `radius`."""
    if not len(points) or not len(others):
        return 0
    from scipy.spatial import KDTree  # which prediction does not need

    distances, _ = KDTree(others).query(points, distance_upper_bound=radius + 0.5)
    return int((distances <= radius).sum())


def boundary_counts(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """int64 (C, 4), as in `ImageStatistics`. Boundaries with, and predictions of, ignored pixels do not count."""
    true = truth.numpy()
    ours = np.where(true == IGNORE, IGNORE, predicted.numpy())
    radius = max(round(TOLERANCE * float(np.hypot(*true.shape))), 1)
    ignored = true == IGNORE
    beside_ignored = ignored.copy()
    for part, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        beside_ignored[part] |= ignored[other]
        beside_ignored[other] |= ignored[part]
    places = [np.argwhere(boundaries(one) & ~beside_ignored) for one in (ours, true)]
    labels = [one[tuple(at.T)] for one, at in zip((ours, true), places, strict=True)]
    found = torch.zeros(classes, 4, dtype=torch.int64)
    for label in np.union1d(*labels):
        mine, theirs = (at[held == label] for at, held in zip(places, labels, strict=True))
        counts = near(mine, theirs, radius), len(mine), near(theirs, mine, radius), len(theirs)
        found[label] = torch.tensor(counts)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Figures


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """float64 (..., C): intersection over union of each class from pixels (..., C, C); NaN for classes that neither
    occur nor are predicted."""
    both = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    either = confusion.sum(-1) + confusion.sum(-2) - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """float64 (..., C): the share of each class's pixels that are found; NaN for classes that do not occur."""
    both = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    every = confusion.sum(-1)
    return np.divide(both, every, out=np.full_like(both, np.nan), where=every > 0)


def mean_of(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; 0 where all is."""
    held = ~np.isnan(values)
    count = held.sum(-1)
    total = np.where(held, values, 0).sum(-1)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def miou(confusion: np.ndarray) -> float:
    """The mean IoU of the classes that occur or are predicted, from pixels (C, C)."""
    return float(mean_of(class_iou(confusion)))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of pixels whose class is predicted; 0 without pixels."""
    return float(np.trace(confusion) / max(confusion.sum(), 1))


def boundary_f(boundary: np.ndarray) -> np.ndarray:
    """float64 (..., C): the F-score of each class's boundary from counts (..., C, 4); NaN where there is none at all
    (Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013)."""
    hit, predicted, found, true = np.moveaxis(boundary.astype(np.float64), -1, 0)
    precision = np.divide(hit, predicted, out=np.zeros_like(hit), where=predicted > 0)
    recall = np.divide(found, true, out=np.zeros_like(hit), where=true > 0)
    total = precision + recall
    score = np.divide(2 * precision * recall, total, out=np.zeros_like(hit), where=total > 0)
    return np.where(predicted + true > 0, score, np.nan)


def calibration_error(bins: np.ndarray) -> float:
    """The expected calibration error from pixels, sums of confidence and correct pixels by bin, (BINS, 3)."""
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / max(bins[:, 0].sum(), 1))
