"""The class of each pixel of an image from the outputs of an export."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skipway.data.fitting import Fitting
from skipway.tasks.export_reader import Arrays
from skipway.tasks.segment.prediction import SegmentPrediction
from skipway.tasks.segment.present import SegmentPresenter

BAND = 1 << 22  # scores that are interpolated at once


@dataclass(frozen=True)
class PixelReader:
    """fitting: of the images, which says where an image lies in the input."""

    classes: tuple[str, ...]
    fitting: Fitting
    needed: ClassVar[tuple[str, ...]] = ("scores",)

    @property
    def presenter(self) -> SegmentPresenter:
        return SegmentPresenter()

    def predict(
        self, name: str, outputs: Arrays, size: tuple[int, int], top: int, threshold: float | None
    ) -> SegmentPrediction:
        """The class of each pixel of the image, whatever `top` is."""
        labels = label_map(outputs["scores"], self.fitting, size)
        return SegmentPrediction(name, labels=labels, classes=self.classes, size=size)

    def unread(self, name: str, error: str) -> SegmentPrediction:
        return SegmentPrediction(name, error)


def label_map(scores: np.ndarray, fitting: Fitting, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): the likeliest class of each pixel of the image, from scores float32 (C, *canvas), as
    `label_maps.label_map`; some rows at a time, since the scores of a large photograph would take gigabytes."""
    place = fitting.placement(*size)
    inside = scores[:, place.top : place.top + place.height, place.left : place.left + place.width]
    labels = np.empty(size, dtype=np.uint8)
    rows = max(BAND // (len(scores) * size[1]), 1)
    for start in range(0, size[0], rows):
        band = np.arange(start, min(start + rows, size[0]))
        tall = between(inside, *neighbours(inside.shape[1], size[0], band), axis=1)
        wide = between(tall, *neighbours(inside.shape[2], size[1], np.arange(size[1])), axis=2)
        labels[band[0] : band[-1] + 1] = wide.argmax(0)
    return labels


def neighbours(size: int, wanted: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the pixels `at` of a side of `wanted`, made of `size`: the pixels before and behind, and the share float32 of
    the latter, between pixel centres."""
    place = np.maximum((at.astype(np.float32) + np.float32(0.5)) * np.float32(size / wanted) - np.float32(0.5), 0)
    before = np.minimum(place.astype(np.int64), size - 1)
    return before, np.minimum(before + 1, size - 1), place - before.astype(np.float32)


def between(values: np.ndarray, before: np.ndarray, behind: np.ndarray, share: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along `axis`, 1 or 2."""
    share = share[:, None] if axis == 1 else share
    return values.take(before, axis) * (1 - share) + values.take(behind, axis) * share
