"""Evaluation of segmentation: mean IoU with its interval, classes, boundaries, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skipway.data.mask_targets import MaskTargets
from skipway.data.preprocess import Preprocessing
from skipway.errors import DataError
from skipway.tasks.base import SplitOutputs
from skipway.tasks.segment.confusion import (
    ImageStatistics,
    boundary_f,
    calibration_error,
    class_accuracy,
    class_iou,
    mean_of,
    miou,
    pixel_accuracy,
)

DRAWS = 1000  # of images, with replacement, behind an interval
LEVEL = 0.95


@dataclass(frozen=True, repr=False)
class SegmentEvaluation:
    """The results on a split.

    images: what was counted in each image; confusion: int64 (C, C), the sum; preprocessing: the network's, whose
    placement says where an image lies in the input, and so in a thumbnail.
    """

    scored: SplitOutputs
    metrics: dict[str, Any]
    images: ImageStatistics
    confusion: np.ndarray
    preprocessing: Preprocessing

    def __repr__(self) -> str:
        m = self.metrics
        return f"Evaluation({self.scored.data}, {self.scored.split}: mIoU {100 * m['miou']:.1f} %, {m['n']:,} images)"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        figure = f"mIoU {100 * self.metrics['miou']:.1f} %"
        return notebook.evaluation(self.scored.data, self.scored.split, figure, self.metrics)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scored.classes

    @property
    def targets(self) -> MaskTargets:
        return targets_of(self.scored)

    @property
    def names(self) -> Sequence[str]:
        return self.scored.images.names

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """class, images, pixels, share, predicted_share, iou, accuracy, boundary_f of each class; None for figures of
        classes that do not occur."""
        true, predicted = self.confusion.sum(1), self.confusion.sum(0)
        total = max(int(self.confusion.sum()), 1)
        iou, accuracy = class_iou(self.confusion), class_accuracy(self.confusion)
        edges = boundary_f(self.images.boundary.sum(0, dtype=np.int64))
        images = self.images.confusion.any(2).sum(0)
        return [
            {
                "class": name,
                "images": int(images[i]),
                "pixels": int(true[i]),
                "share": float(true[i] / total),
                "predicted_share": float(predicted[i] / total),
                "iou": measured(iou[i]),
                "accuracy": measured(accuracy[i]),
                "boundary_f": measured(edges[i]),
            }
            for i, name in enumerate(self.classes)
        ]

    @cached_property
    def image_miou(self) -> np.ndarray:
        """float64 (n,): of each image, the mean IoU of the classes that occur or are predicted in it."""
        return mean_of(class_iou(self.images.confusion))


def measured(figure: float) -> float | None:
    """The figure; None for NaN, which stands for a class that does not occur."""
    return None if np.isnan(figure) else float(figure)


def targets_of(scored: SplitOutputs) -> MaskTargets:
    """The label maps of the split. Raises DataError for other annotations."""
    if not isinstance(scored.images.targets, MaskTargets):
        raise DataError(f"{scored.data} has no label maps")
    return scored.images.targets


def bootstrap_weights(images: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """int64 (draws, images): how often each image is drawn, of as many as there are, with replacement."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws)


def resampled_miou(confusions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (draws,): mean IoU of each draw, from pixels (n, C, C) by image."""
    n, classes = confusions.shape[:2]
    summed = weights.astype(np.float64) @ confusions.reshape(n, -1).astype(np.float64)
    return mean_of(class_iou(summed.reshape(-1, classes, classes)))


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """The central LEVEL of the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def measure(scored: SplitOutputs, preprocessing: Preprocessing) -> SegmentEvaluation:
    """All results on `scored`, whose outputs are those of `Segment.summarise`."""
    targets_of(scored)
    images = ImageStatistics(*(output.numpy() for output in scored.outputs))
    confusion = images.confusion.sum(0, dtype=np.int64)
    draws = resampled_miou(images.confusion, bootstrap_weights(len(images.confusion)))
    metrics: dict[str, Any] = {
        "n": len(images.confusion),
        "miou": miou(confusion),
        "miou_interval": interval_of(draws),
        "pixel_accuracy": pixel_accuracy(confusion),
        "mean_accuracy": float(mean_of(class_accuracy(confusion))),
        "boundary_f": float(mean_of(boundary_f(images.boundary.sum(0, dtype=np.int64)))),
        "ece": calibration_error(images.calibration.sum(0)),
        "pixels": int(confusion.sum()),
    }
    return SegmentEvaluation(scored, metrics, images, confusion, preprocessing)


def predicted_map(evaluation: SegmentEvaluation, place: int) -> np.ndarray:
    """uint8 (h, w): the predicted classes of an image, reduced, without the margins of the network's input."""
    height, width = evaluation.targets.sizes[place]
    thumbnail = evaluation.images.thumbnails[place]
    where, canvas = evaluation.preprocessing.placement(int(height), int(width)), evaluation.preprocessing.canvas
    down, across = thumbnail.shape[0] / canvas[0], thumbnail.shape[1] / canvas[1]
    top, left = round(where.top * down), round(where.left * across)
    rows, columns = max(round(where.height * down), 1), max(round(where.width * across), 1)
    return thumbnail[top : top + rows, left : left + columns]
