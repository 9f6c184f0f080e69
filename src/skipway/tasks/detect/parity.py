"""Whether two engines find the same objects."""

from dataclasses import dataclass

import numpy as np

from skipway.tasks.base import Outputs
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.detections import Decoder
from skipway.tasks.detect.matching import Truth, match

# Of objects that must be found by both, by precision; 0.95 for others. int8 has passed its own gate, box AP
# (quantize.py), before it comes here, and moves small boxes: 92 % overlap by SAME of a detector that lost 0.4 points.
SHARE = {"float32": 0.999, "float16": 0.98, "int8": 0.85}
SCORE = {"float32": 1e-3, "float16": 0.02}  # by which the score of an object found by both may differ; else 0.1
SAME = 0.9  # overlap from which a box is the same
CERTAIN = 0.3  # score of the objects that are compared; of those just below it, one engine may find more


@dataclass(frozen=True)
class DetectParity:
    """Of `objects` found by either in `images` images, `both` were found by both, their scores `largest` apart at
    most."""

    images: int
    objects: int
    both: int
    share: float
    largest: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.both >= self.share * self.objects and self.largest <= self.tolerance

    def summary(self) -> str:
        return (
            f"{self.both} of {self.objects} objects found by both (at least {100 * self.share:g} % needed), scores "
            f"differ by {self.largest:.2g} at most (allowed {self.tolerance:g})"
        )


def compare(decoder: Decoder, expected: Outputs, reader: Decoder, found: Outputs, precision: str) -> DetectParity:
    """The detections of two engines for the same images, in pixels of the network's input. reader: the decoder of
    `found`."""
    size = decoder.preprocessing.canvas
    sizes = np.array([size] * len(expected[0]))
    objects, both, largest = 0, 0, 0.0
    tolerance = SCORE.get(precision, 0.1)
    for one, other in zip(decoder.batch(expected, sizes), reader.batch(found, sizes), strict=True):
        near, near_other = one.above(CERTAIN - tolerance), other.above(CERTAIN - tolerance)
        matched, shared = pairs(near, near_other)
        certain = near.scores >= CERTAIN
        objects += int(certain.sum()) + int(((near_other.scores >= CERTAIN) & ~shared).sum())
        both += int((certain & (matched >= 0)).sum())
        held = matched >= 0
        if held.any():
            largest = max(largest, float(np.abs(near.scores[held] - near_other.scores[matched[held]]).max()))
    return DetectParity(len(sizes), objects, both, SHARE.get(precision, 0.95), largest, tolerance)


def pairs(one: Detected, other: Detected) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the place of the same box in `other`, or -1; and whether each of `other` is one of those."""
    truth = Truth(other.boxes, other.labels, np.zeros(len(other.labels), dtype=bool))
    matched = match(one, truth, SAME).object_of
    shared = np.zeros(len(other.labels), dtype=bool)
    shared[matched[matched >= 0]] = True
    return matched, shared
