"""Mosaic augmentation: four images in one input of the network, with the boxes of all.

Bochkovskiy, Wang, Liao: YOLOv4: Optimal Speed and Accuracy of Object Detection. 2020, arXiv:2004.10934, sec. 3.3. The
point where the four meet is random, and each shows a random part of its own at a random scale, mirrored or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.box_targets import NO_LABEL, Boxes
from skipway.data.loader import Transform
from skipway.data.targets import Targets
from skipway.tasks.detect.transform import Annotation, BoxTransform, MaskedBoxes

COMBINED = 4  # images in an input
MARGIN = 0.25  # of each side of the input: the point where the images meet is at least as far from the edge


class Quarter(NamedTuple):
    """Where an image lies in the input, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Mosaic(Transform):
    """alone: the transform of a single image; probability: of an input with three other images of the split, of which
    any may come again. Every input has rows for the boxes of four images."""

    alone: BoxTransform
    probability: float

    def read(self, targets: Targets, place: int) -> Annotation:
        return self.alone.read(targets, place)

    def for_epoch(self, epoch: int) -> "Mosaic":
        return self

    def __call__(self, image: Tensor, target: Annotation) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """The input of the image alone."""
        pixels, found = self.alone(image, target)
        return pixels, joined([found, *[without_boxes(found)] * (COMBINED - 1)])

    def view(
        self, opened: Callable[[int], tuple[Tensor, Any]], place: int, images: int
    ) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """The image at `place` alone, or at the top left of three others."""
        if torch.rand(()) >= self.probability:
            return self(*opened(place))
        others = torch.randint(images, (COMBINED - 1,)).tolist()
        return self.combined([opened(one) for one in (place, *others)])

    def combined(self, views: Sequence[tuple[Tensor, Annotation]]) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """The input that shows a part of each of four images, row by row, and its boxes."""
        canvas, pixels, found = self.alone.preprocessing.canvas, self.alone.preprocessing.blank(), []
        for (image, target), (top, left, height, width) in zip(views, random_quarters(canvas), strict=True):
            part, boxes = self.alone.random_part(image, target, (height, width))
            pixels[:, top : top + height, left : left + width] = part
            found.append(moved(boxes, Quarter(top, left, height, width), canvas))
        return pixels, joined(found)


def random_quarters(canvas: tuple[int, int]) -> list[Quarter]:
    """The four parts, row by row, into which a random point divides an input of `canvas` (height, width) pixels."""
    row, column = (round(side * (MARGIN + (1 - 2 * MARGIN) * torch.rand(()).item())) for side in canvas)
    rows, columns = ((0, row), (row, canvas[0] - row)), ((0, column), (column, canvas[1] - column))
    return [Quarter(top, left, height, width) for top, height in rows for left, width in columns]


def moved(found: Boxes | MaskedBoxes, quarter: Quarter, canvas: tuple[int, int]) -> Boxes | MaskedBoxes:
    """Boxes of a quarter, with their masks, in an input of `canvas` (height, width) pixels."""
    top, left, height, width = quarter
    boxes = found.boxes + torch.tensor([left, top] * 2)
    if isinstance(found, Boxes):
        return found._replace(boxes=boxes)
    around = (left, canvas[1] - left - width, top, canvas[0] - top - height)
    return found._replace(boxes=boxes, masks=F.pad(found.masks, around))


def without_boxes(found: Boxes | MaskedBoxes) -> Boxes | MaskedBoxes:
    """As many rows, all without a box."""
    empty = type(found)(*map(torch.zeros_like, found))
    return empty._replace(labels=torch.full_like(found.labels, NO_LABEL))


def joined(found: Sequence[Boxes | MaskedBoxes]) -> Boxes | MaskedBoxes:
    """The rows of all in one; `sizes` is that of the first."""
    rows = {name: torch.cat([getattr(one, name) for one in found]) for name in found[0]._fields if name != "sizes"}
    return found[0]._replace(**rows)
