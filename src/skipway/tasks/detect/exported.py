"""The objects in an image from the outputs of an export: non-maximum suppression in NumPy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skipway.data.fitting import Fitting
from skipway.tasks.detect.detected import LEAST, MOST, Detected
from skipway.tasks.detect.prediction import ObjectPrediction, objects_of
from skipway.tasks.detect.present import DetectPresenter
from skipway.tasks.export_reader import Arrays

SHIFTED = 1000  # boxes up to which classes are kept apart by shifting them, as torchvision does on processors


@dataclass(frozen=True)
class ObjectReader:
    """nms: the overlap (IoU) from which of two boxes of a class only the better is kept; shown: the score from which
    objects are predicted where no other is asked for."""

    classes: tuple[str, ...]
    fitting: Fitting
    nms: float
    shown: float
    needed: ClassVar[tuple[str, ...]] = ("boxes", "scores", "labels")

    @property
    def presenter(self) -> DetectPresenter:
        return DetectPresenter()

    def predict(
        self, name: str, outputs: Arrays, size: tuple[int, int], top: int, threshold: float | None
    ) -> ObjectPrediction:
        """The objects with a score of at least the threshold, whatever `top` is."""
        found = self.detected(outputs, size).above(self.shown if threshold is None else threshold)
        return ObjectPrediction(name, objects=objects_of(found, self.classes, size), size=size)

    def unread(self, name: str, error: str) -> ObjectPrediction:
        return ObjectPrediction(name, error)

    def detected(self, outputs: Arrays, size: tuple[int, int]) -> Detected:
        """As `detections.Decoder`."""
        boxes, scores, labels = (outputs[name] for name in self.needed)
        chosen = np.flatnonzero(scores >= LEAST)
        chosen = chosen[suppressed(boxes[chosen], scores[chosen], labels[chosen], self.nms)[:MOST]]
        found = self.to_image(boxes[chosen], size).astype(np.float64)
        return Detected(found, scores[chosen].astype(np.float64), labels[chosen].astype(np.int64))

    def to_image(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (k, 4) of the input in pixels of the image, clipped to it."""
        height, width = size
        place = self.fitting.placement(height, width)
        scale = np.array([place.width / width, place.height / height] * 2, dtype=np.float32)
        offset = np.array([place.left, place.top] * 2, dtype=np.float32)
        return np.clip((boxes - offset) / scale, 0, np.array([width, height] * 2, dtype=np.float32))


def suppressed(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """The places of the boxes float32 (k, 4) that are kept, the best first: of boxes of a class that overlap by more
    than `threshold` only the better. Equal to `torchvision.ops.batched_nms` on processors."""
    if not len(boxes):
        return np.empty(0, dtype=np.int64)
    if len(boxes) <= SHIFTED:
        shift = labels.astype(np.float32) * (boxes.max() + np.float32(1))
        return kept(boxes + shift[:, None], scores, threshold)
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    found = np.sort(np.concatenate([own[kept(boxes[own], scores[own], threshold)] for own in places]))
    return found[np.argsort(-scores[found], kind="stable")]


def kept(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """As `suppressed`, of boxes of one class."""
    order, found = np.argsort(-scores, kind="stable"), []
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    while len(order):
        best, order = order[0], order[1:]
        found.append(best)
        wide = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        tall = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        common = np.maximum(wide, 0) * np.maximum(tall, 0)
        overlap = common / (areas[best] + areas[order] - common)
        order = order[~(overlap > np.float64(threshold))]  # a box without area overlaps with none: NaN
    return np.array(found, dtype=np.int64)
