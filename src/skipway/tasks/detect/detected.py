"""The detections of an image as arrays."""

from typing import NamedTuple

import numpy as np

LEAST = 0.05  # score: candidates below count for no metric
SHOWN = 0.3  # score from which objects are predicted where no threshold was fitted
MOST = 100  # detections of an image, as in COCO's protocol


class Detected(NamedTuple):
    """The detections of an image, best first.

    boxes: float64 (k, 4), left, top, right, bottom in pixels of the original image; scores: float64 (k,);
    labels: int64 (k,); masks: float32 (k, 28, 28), probabilities within the box, or None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    def above(self, threshold: float) -> "Detected":
        """Those with a score of at least `threshold`."""
        kept = self.scores >= threshold
        masks = None if self.masks is None else self.masks[kept]
        return Detected(self.boxes[kept], self.scores[kept], self.labels[kept], masks)
