"""The class of each pixel of a large image, from the scores of overlapping tiles."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from skipway.tasks.base import Outputs
from skipway.tasks.segment.prediction import SegmentPrediction

POWER = 2  # of the weights: the scores of the tile whose centre is nearest count most


def tile_weights(height: int, width: int) -> Tensor:
    """float32 (height, width): how much a tile's scores count, most in its centre, least at its edges, where it knows
    least of what is around."""
    rows, columns = (torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).float() for n in (height, width))
    weights = rows[:, None] * columns / (rows.max() * columns.max())
    return weights**POWER


class LabelMapStitcher:
    """Scores are summed with weights, and a row of pixels is decided once no further tile covers it: held are the
    scores for a row of tiles, and the labels of the image."""

    add_whole: ClassVar[None] = None  # a smaller image would lack what tiles are for

    def __init__(self, classes: tuple[str, ...], size: tuple[int, int]) -> None:
        self.classes = classes
        self.labels = np.zeros(size, dtype=np.uint8)
        self.scores = torch.zeros(len(classes), 0, size[1])
        self.top = 0  # of the first row in `scores`
        self.weights = torch.zeros(0, 0)

    def add(self, outputs: Outputs, top: int, left: int) -> None:
        logits = outputs[0]
        height, width = logits.shape[1:]
        if self.weights.shape != (height, width):
            self.weights = tile_weights(height, width)
        self.decide(top)
        rows = min(height, self.labels.shape[0] - top)
        columns = min(width, self.labels.shape[1] - left)
        missing = rows - self.scores.shape[1]
        if missing > 0:
            self.scores = torch.cat([self.scores, torch.zeros(len(self.classes), missing, self.labels.shape[1])], 1)
        weighted = logits[:, :rows, :columns] * self.weights[:rows, :columns]
        self.scores[:, :rows, left : left + columns] += weighted

    def decide(self, top: int) -> None:
        """Give the rows above `top` their labels."""
        done = min(top - self.top, self.scores.shape[1])
        if done > 0:
            self.labels[self.top : self.top + done] = self.scores[:, :done].argmax(0).to(torch.uint8).numpy()
            self.scores, self.top = self.scores[:, done:].clone(), self.top + done

    def finish(self, name: str) -> SegmentPrediction:
        self.decide(self.labels.shape[0])
        height, width = self.labels.shape
        return SegmentPrediction(name, labels=self.labels, classes=self.classes, size=(height, width))
