"""Average precision of resampled images, for intervals and for comparing two networks on the same images.

Efron, Tibshirani: An Introduction to the Bootstrap. 1993, ch. 13 (percentile interval). Images are resampled, because
the objects of one image are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skipway.data.box_targets import BoxTargets
from skipway.tasks.bootstrap_comparison import Difference, paired_difference
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.matching import Truth, match_overlaps, overlaps, truth_at

OVERLAPS = np.linspace(0.5, 0.95, 10)  # COCO's
RECALL = np.linspace(0, 1, 101)
SAMPLES = 500


@dataclass(frozen=True)
class ClassMatches:
    """The detections of a class in all images, best first: image (d,), correct and counted (overlaps, d); objects:
    (n,) of each image."""

    image: np.ndarray
    correct: np.ndarray
    counted: np.ndarray
    objects: np.ndarray

    def precision(self, weights: np.ndarray) -> np.ndarray:
        """(overlaps,) average precision at COCO's 101 recalls when image i counts `weights[i]` times."""
        times, total = weights[self.image], float(weights @ self.objects)
        hits = np.cumsum(self.correct * times, 1)
        taken = np.cumsum(self.counted * times, 1)
        precision = np.maximum.accumulate((hits / np.maximum(taken, 1e-12))[:, ::-1], 1)[:, ::-1]
        found = np.zeros(len(OVERLAPS))
        for i, (recall, values) in enumerate(zip(hits / total, precision, strict=True)):
            places = np.searchsorted(recall, RECALL, side="left")
            found[i] = np.append(values, 0.0)[np.minimum(places, len(values))].mean()
        return found


@dataclass(frozen=True)
class MatchTable:
    """A network's detections matched with the objects of `images` images, by class."""

    images: int
    classes: tuple[ClassMatches, ...]

    def ap(self, weights: np.ndarray | None = None) -> float:
        """AP over COCO's overlaps, the mean over the classes with objects; image i counts `weights[i]` times."""
        weights = np.ones(self.images) if weights is None else weights
        held = [one for one in self.classes if weights @ one.objects > 0]
        return float(np.mean([one.precision(weights).mean() for one in held])) if held else -1.0

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of AP."""
        low, high = np.quantile([self.ap(weights) for weights in resampled(self.images)], [0.025, 0.975])
        return float(low), float(high)


def resampled(images: int, samples: int = SAMPLES) -> np.ndarray:
    """(samples, images): how often each image is in a sample of as many, drawn with replacement; always the same."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=samples)


def match_table(targets: BoxTargets, found: Sequence[Detected], classes: int) -> MatchTable:
    """The table of the detections of each image of `targets`."""
    return MatchTable(len(targets), tuple(class_matches(targets, found, label) for label in range(classes)))


def class_matches(targets: BoxTargets, found: Sequence[Detected], label: int) -> ClassMatches:
    scores, image, correct, ignored, objects = [], [], [], [], []
    for place, every in enumerate(found):
        mine, truth = every.labels == label, truth_at(targets, place)
        own = truth.labels == label
        of_class = Truth(truth.boxes[own], truth.labels[own], truth.crowd[own])
        objects.append(int((~of_class.crowd).sum()))
        one = Detected(every.boxes[mine], every.scores[mine], every.labels[mine])
        if not len(one.scores):
            continue
        shared = overlaps(one, of_class)
        matches = [match_overlaps(one, of_class, shared, least) for least in OVERLAPS]
        scores.append(one.scores)
        image.append(np.full(len(one.scores), place))
        correct.append(np.stack([each.object_of >= 0 for each in matches]))
        ignored.append(np.stack([each.ignored for each in matches]))
    if not scores:
        empty = np.zeros((len(OVERLAPS), 0), dtype=bool)
        return ClassMatches(np.empty(0, dtype=int), empty, empty, np.array(objects))
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    counted = ~np.concatenate(ignored, 1)[:, order]
    return ClassMatches(np.concatenate(image)[order], np.concatenate(correct, 1)[:, order], counted, np.array(objects))


def difference(first: MatchTable, second: MatchTable) -> Difference:
    """AP of the second minus that of the first on the same images."""
    drawn = np.array([second.ap(weights) - first.ap(weights) for weights in resampled(first.images)])
    return paired_difference(first.ap(), second.ap(), drawn)
