"""Augmentation of images together with their boxes: scale jitter with a crop that keeps a box, and mirroring.

A window is drawn again while it holds the centre of no box.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skipway.data.box_targets import NO_LABEL, Boxes, BoxTargets
from skipway.data.loader import Transform
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Targets
from skipway.tasks.crop_window import Window, cut, random_window, whole_image
from skipway.tasks.detect.geometry import areas_of, clip

VISIBLE = 0.25  # share of a box's area that a crop must keep, or the box is no object any more
SIDE = 2.0  # pixels of the input: boxes with a shorter side are no objects any more
DRAWS = 10  # of a window before one without a box is accepted


class MaskedBoxes(NamedTuple):
    """As `Boxes`, with `masks` uint8 (..., M, H, W) of 0 and 1 on the network's input; empty where there is no mask."""

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor
    sizes: Tensor
    masks: Tensor


Annotation = tuple[Boxes, Tensor | None]  # the boxes of an image, and their masks uint8 (m, H, W) where needed


@dataclass(frozen=True)
class BoxTransform(Transform):
    """jitter: whether scale and place are drawn; flip: whether half of the images are mirrored; masks: whether masks
    are needed too."""

    preprocessing: Preprocessing
    jitter: bool
    flip: bool
    masks: bool = False

    def read(self, targets: Targets, place: int) -> Annotation:
        """The boxes and, where needed, the masks of an image, which is as large as it was annotated."""
        assert isinstance(targets, BoxTargets)
        boxes = targets.item(place)
        if not self.masks:
            return boxes, None
        from skipway.tasks.detect.masks import decoded

        rows = targets.rows(place)
        height, width = targets.sizes[place].tolist()
        found = targets.masks[rows] if targets.masks is not None else (None,) * (rows.stop - rows.start)
        return boxes, decoded(found, (height, width))

    def for_epoch(self, epoch: int) -> "BoxTransform":
        return self

    def __call__(self, image: Tensor, target: Annotation) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """The input and its boxes there; boxes that are hardly visible, and crowds, get NO_LABEL."""
        if self.jitter:
            return self.random_part(image, target, self.preprocessing.canvas)
        size = image.shape[1], image.shape[2]
        return self.mirrored(self.preprocessing.fitted(image), target, whole_image(self.preprocessing, size), size)

    def random_part(
        self, image: Tensor, target: Annotation, canvas: tuple[int, int]
    ) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """As `__call__`, for an input of `canvas` (height, width) pixels that shows a random part of the image, at a
        random scale relative to the image as the whole input shows it."""
        size = image.shape[1], image.shape[2]
        boxes, _ = target
        window = self.draw(size, scaled(boxes, size)[learnable(boxes)], canvas)
        part = replace(self.preprocessing, height=canvas[0], size=canvas[1])
        return self.mirrored(cut(image, window, part), target, window, size)

    def mirrored(
        self, pixels: Tensor, target: Annotation, window: Window, size: tuple[int, int]
    ) -> tuple[Tensor, Boxes | MaskedBoxes]:
        """`pixels`, which show `window` of an image of `size` (height, width), and its boxes there, half of the time
        mirrored."""
        annotated, masks = target
        canvas = pixels.shape[1], pixels.shape[2]
        whole = window.of_boxes(scaled(annotated, size), size)
        placed = None if masks is None else window.of_masks(masks, canvas)
        if self.flip and torch.rand(()) < 0.5:
            pixels = pixels.flip(-1)
            placed = None if placed is None else placed.flip(-1)
            whole = torch.stack([canvas[1] - whole[:, 2], whole[:, 1], canvas[1] - whole[:, 0], whole[:, 3]], 1)
        visible = clip(whole, canvas)
        sides = torch.minimum(visible[:, 2] - visible[:, 0], visible[:, 3] - visible[:, 1])
        learnt = learnable(annotated) & (areas_of(visible) >= VISIBLE * areas_of(whole)) & (sides >= SIDE)
        labels = torch.where(learnt, annotated.labels, NO_LABEL)
        found = annotated._replace(boxes=visible, labels=labels, areas=areas_of(visible))
        if placed is None:
            return pixels, found
        filled = torch.zeros(len(labels), *canvas, dtype=torch.uint8)
        filled[: len(placed)] = placed
        return pixels, MaskedBoxes(*found, filled)

    def draw(self, size: tuple[int, int], boxes: Tensor, canvas: tuple[int, int]) -> Window:
        """A random window of `canvas` pixels; of several drawn, the first that holds the centre of one of `boxes`."""
        rows, columns = canvas
        for _ in range(DRAWS):
            window = random_window(self.preprocessing, size, canvas)
            placed = window.of_boxes(boxes, size)
            centres = (placed[:, :2] + placed[:, 2:]) / 2
            inside = (centres >= 0).all(1) & (centres < torch.tensor([columns, rows])).all(1)
            if inside.any() or not len(boxes):
                break
        return window


def scaled(annotated: Boxes, size: tuple[int, int]) -> Tensor:
    """The boxes (M, 4) in pixels of the image, which has `size` (height, width) and may have been downscaled."""
    return annotated.boxes * (torch.tensor([size[1], size[0]] * 2) / annotated.sizes[[1, 0, 1, 0]])


def learnable(annotated: Boxes) -> Tensor:
    """(M,) bool: the rows that have a box, and not of a crowd."""
    return (annotated.labels != NO_LABEL) & ~annotated.crowd
