"""Detections matched with objects: errors by kind, confusions, and the best threshold of the score.

Kinds of errors after Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox for Identifying Object Detection Errors. ECCV
2020, arXiv:2008.08115, sec. 2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from skipway.data.box_targets import BoxTargets
from skipway.tasks.detect.detected import Detected

FOREGROUND, BACKGROUND = 0.5, 0.1  # overlap: above the first an object is found, below the second it is not even hit
KINDS = {
    "class": "right place, wrong class",
    "place": "right class, overlap below 0.5",
    "both": "wrong class and overlap below 0.5",
    "duplicate": "an object that a better box has found",
    "background": "no object there",
    "missed": "an object that no box touches",
}


class Truth(NamedTuple):
    """The objects of an image: boxes (m, 4), labels (m,), and whether each is a crowd, (m,)."""

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def truth_at(targets: BoxTargets, place: int) -> Truth:
    """The objects of the image at `place`."""
    rows = targets.rows(place)
    return Truth(targets.boxes[rows], targets.labels[rows], targets.crowd[rows])


def overlaps(found: Detected, truth: Truth) -> np.ndarray:
    """(detections, objects) intersection over union; for a crowd over the detection's area."""
    from torchvision.ops import box_iou  # here, since it takes as long to import as torch

    if not len(found.boxes) or not len(truth.boxes):
        return np.zeros((len(found.boxes), len(truth.boxes)))
    one, other = torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes)
    union = box_iou(one, other).numpy()
    if not truth.crowd.any():
        return union
    low, high = torch.maximum(one[:, None, :2], other[:, :2]), torch.minimum(one[:, None, 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = ((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])).clamp(min=1e-9)
    return np.where(truth.crowd, (shared / area[:, None]).numpy(), union)


@dataclass(frozen=True)
class Matches:
    """object_of: (detections,) the object that each found, or -1; ignored: (detections,) those in a crowd only."""

    object_of: np.ndarray
    ignored: np.ndarray


def match(found: Detected, truth: Truth, least: float = FOREGROUND) -> Matches:
    """Each detection, best first, takes the free object of its class that it overlaps most, by at least `least`."""
    return match_overlaps(found, truth, overlaps(found, truth), least)


def match_overlaps(found: Detected, truth: Truth, shared: np.ndarray, least: float = FOREGROUND) -> Matches:
    """As `match`, with the overlaps already computed, (detections, objects)."""
    object_of = np.full(len(found.scores), -1)
    ignored = np.zeros(len(found.scores), dtype=bool)
    free = ~truth.crowd
    for i in range(len(found.scores)):
        same = truth.labels == found.labels[i]
        candidates = np.where(same & free, shared[i], -1.0) if len(same) else np.empty(0)
        if len(candidates) and candidates.max() >= least:
            object_of[i] = int(candidates.argmax())
            free[object_of[i]] = False
        else:
            ignored[i] = bool((same & truth.crowd & (shared[i] >= least)).any())
    return Matches(object_of, ignored)


class ScoreCurve(NamedTuple):
    """For each threshold, from the highest score down: precision, recall and F1 over all classes together."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def best(self) -> tuple[float, float]:
        """(threshold, F1) of the highest F1; (0.5, 0) where nothing was found."""
        if not len(self.f1) or not self.f1.max() > 0:
            return 0.5, 0.0
        i = int(self.f1.argmax())
        lower = self.thresholds[i + 1] if i + 1 < len(self.thresholds) else 0.0
        return float((self.thresholds[i] + lower) / 2), float(self.f1[i])


def score_curve(targets: BoxTargets, found: Sequence[Detected]) -> ScoreCurve:
    """Precision, recall and F1 at overlap 0.5 by threshold; crowds count for neither."""
    scores, correct = [], []
    for place, one in enumerate(found):
        matches = match(one, truth_at(targets, place))
        scores.append(one.scores[~matches.ignored])
        correct.append((matches.object_of >= 0)[~matches.ignored])
    objects = int((~targets.crowd).sum())
    score, right = np.concatenate([*scores, np.empty(0)]), np.concatenate([*correct, np.empty(0, dtype=bool)])
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    last = np.append(np.diff(score) != 0, True) if len(score) else np.empty(0, dtype=bool)  # of equal scores
    places = np.arange(1, len(score) + 1)
    precision, recall = hits / places, hits / max(objects, 1)
    f1 = 2 * hits / (places + max(objects, 1))
    return ScoreCurve(score[last], precision[last], recall[last], f1[last])


def confusion(targets: BoxTargets, found: Sequence[Detected], classes: int, threshold: float) -> np.ndarray:
    """(classes + 1, classes + 1): objects by class (rows) and predicted class (columns); the last is the background.

    Detections of at least `threshold` take objects of any class by decreasing overlap, at least 0.5.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for place, every in enumerate(found):
        one, truth = every.above(threshold), truth_at(targets, place)
        shared = overlaps(one, truth)
        in_crowd = match_overlaps(one, truth, shared).ignored
        shared[:, truth.crowd] = 0
        taken, hit = np.zeros(len(one.labels), dtype=bool), np.zeros(len(truth.labels), dtype=bool)
        while shared.size and shared.max() >= FOREGROUND:
            i, j = np.unravel_index(int(shared.argmax()), shared.shape)
            matrix[truth.labels[j], one.labels[i]] += 1
            taken[i], hit[j] = True, True
            shared[i], shared[:, j] = 0, 0
        np.add.at(matrix, (classes, one.labels[~taken & ~in_crowd]), 1)
        np.add.at(matrix, (truth.labels[~hit & ~truth.crowd], classes), 1)
    return matrix


def error_kinds(one: Detected, truth: Truth) -> dict[str, int]:
    """How many errors of each of KINDS the detections `one` of an image have."""
    counts = dict.fromkeys(KINDS, 0)
    shared = overlaps(one, truth)
    matches = match_overlaps(one, truth, shared)
    shared[:, truth.crowd] = 0
    found = np.zeros(len(truth.labels), dtype=bool)
    found[matches.object_of[matches.object_of >= 0]] = True
    touched = found.copy()
    for i in np.flatnonzero((matches.object_of < 0) & ~matches.ignored):
        same = truth.labels == one.labels[i]
        own, other = shared[i].max(initial=0, where=same), shared[i].max(initial=0, where=~same)
        if own >= FOREGROUND:
            kind = "duplicate"
        elif own >= BACKGROUND:
            kind = "place"
        elif other >= FOREGROUND:
            kind = "class"
        elif other >= BACKGROUND:
            kind = "both"
        else:
            kind = "background"
        counts[kind] += 1
        touched |= shared[i] >= BACKGROUND
    counts["missed"] = int((~touched & ~truth.crowd).sum())
    return counts
