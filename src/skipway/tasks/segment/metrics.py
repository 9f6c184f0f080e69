"""Mean IoU accumulated over batches and processes."""

from collections.abc import Sequence
from typing import Self

import torch

from skipway.data.mask_targets import LabelMaps
from skipway.data.preprocess import Preprocessing
from skipway.tasks.base import Outputs
from skipway.tasks.segment.confusion import class_accuracy, confusion_matrix, mean_of, miou, pixel_accuracy
from skipway.tasks.segment.label_maps import label_map


class SegmentMetrics:
    """One confusion matrix, in the pixels of the original images."""

    def __init__(self, preprocessing: Preprocessing, classes: int) -> None:
        self.preprocessing = preprocessing
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, outputs: Outputs, targets: LabelMaps) -> None:
        for logits, labels, size in zip(outputs[0], targets.labels, targets.sizes.tolist(), strict=True):
            height, width = size
            found = label_map(logits, self.preprocessing, (height, width))
            self.confusion += confusion_matrix(labels[:height, :width], found, len(self.confusion))

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.confusion += other.confusion

    def compute(self) -> dict[str, float]:
        found = self.confusion.numpy()
        accuracy = float(mean_of(class_accuracy(found)))
        return {"miou": miou(found), "pixel_accuracy": pixel_accuracy(found), "mean_accuracy": accuracy}
