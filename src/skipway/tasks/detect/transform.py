"""Augmentation of images together with their boxes: scale jitter with a crop that keeps a box, and mirroring.

Scale jitter: Ghiasi, Cui, Srinivas, Qian, Lin, Cubuk, Le, Zoph: Simple Copy-Paste is a Strong Data Augmentation Method
for Instance Segmentation. CVPR 2021, arXiv:2012.07177, sec. 3. Here from 0.5 to 2, and a window is drawn again while
it holds the centre of no box.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skipway.data.box_targets import NO_LABEL, Boxes, BoxTargets
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Labels, Targets
from skipway.tasks.detect.geometry import areas_of, clip, to_input

SMALLEST, LARGEST = 0.5, 2.0  # scales, relative to the image as evaluation fits it
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


class Window(NamedTuple):
    """A part of the image in pixels of the input, if the image had been resized to `height` x `width` there.

    top, left: where the input's first pixel lies in the resized image; negative where the image begins later.
    """

    height: int
    width: int
    top: int
    left: int

    def of_boxes(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes (..., 4) of the image of `size` (height, width) pixels, in pixels of the input, not clipped."""
        scale = torch.tensor([self.width / size[1], self.height / size[0]] * 2)
        return boxes * scale - torch.tensor([self.left, self.top] * 2)

    def of_masks(self, masks: Tensor, canvas: tuple[int, int]) -> Tensor:
        """Masks uint8 (m, H, W) of the image as (m, *canvas): the nearest pixel of the image for each of the input."""
        rows = ((torch.arange(canvas[0]) + self.top + 0.5) * masks.shape[1] / self.height).floor().long()
        columns = ((torch.arange(canvas[1]) + self.left + 0.5) * masks.shape[2] / self.width).floor().long()
        inside_rows, inside_columns = (rows >= 0) & (rows < masks.shape[1]), (columns >= 0) & (columns < masks.shape[2])
        taken = masks[:, rows.clamp(0, masks.shape[1] - 1)][:, :, columns.clamp(0, masks.shape[2] - 1)]
        return taken * (inside_rows[:, None] & inside_columns).to(torch.uint8)


@dataclass(frozen=True)
class BoxTransform:
    """jitter: whether scale and place are drawn; flip: whether half of the images are mirrored; masks: whether masks
    are needed too."""

    preprocessing: Preprocessing
    jitter: bool
    flip: bool
    masks: bool = False

    def read(self, targets: Targets, place: int) -> tuple[Boxes, Tensor | None]:
        """The boxes and, where needed, the masks uint8 (m, H, W) of an image, which is as large as it was annotated."""
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

    def __call__(self, image: Tensor, target: tuple[Boxes, Tensor | None]) -> tuple[Tensor, Labels]:
        """The input and its boxes there; boxes that are hardly visible, and crowds, get NO_LABEL."""
        annotated, masks = target
        size = image.shape[1], image.shape[2]
        recorded = annotated.sizes[[1, 0, 1, 0]]
        # the image may have been downscaled
        boxes = annotated.boxes * (torch.tensor([size[1], size[0]] * 2) / recorded)
        learnt = (annotated.labels != NO_LABEL) & ~annotated.crowd
        if self.jitter:
            window = self.draw(size, boxes[learnt])
            image, whole = self.cut(image, window), window.of_boxes(boxes, size)
        else:
            place = self.preprocessing.placement(*size)
            window = Window(place.height, place.width, -place.top, -place.left)
            whole = to_input(boxes, self.preprocessing, size)
            image = self.preprocessing.fitted(image)
        placed = None if masks is None else window.of_masks(masks, self.preprocessing.canvas)
        canvas = self.preprocessing.canvas
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
            placed = None if placed is None else placed.flip(-1)
            whole = torch.stack([canvas[1] - whole[:, 2], whole[:, 1], canvas[1] - whole[:, 0], whole[:, 3]], 1)
        visible = clip(whole, canvas)
        sides = torch.minimum(visible[:, 2] - visible[:, 0], visible[:, 3] - visible[:, 1])
        learnt = learnt & (areas_of(visible) >= VISIBLE * areas_of(whole)) & (sides >= SIDE)
        labels = torch.where(learnt, annotated.labels, NO_LABEL)
        found = annotated._replace(boxes=visible, labels=labels, areas=areas_of(visible))
        if placed is None:
            return image, found
        filled = torch.zeros(len(labels), *canvas, dtype=torch.uint8)
        filled[: len(placed)] = placed
        return image, MaskedBoxes(*found, filled)

    def draw(self, size: tuple[int, int], boxes: Tensor) -> Window:
        """A random window; of several drawn, the first that holds the centre of one of `boxes`."""
        rows, columns = self.preprocessing.canvas
        fitted = min(rows / size[0], columns / size[1])
        for _ in range(DRAWS):
            low, high = math.log(SMALLEST), math.log(LARGEST)
            scale = fitted * math.exp(low + (high - low) * torch.rand(()).item())
            height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
            top, left = (offset(length, room) for length, room in ((height, rows), (width, columns)))
            window = Window(height, width, top, left)
            placed = window.of_boxes(boxes, size)
            centres = (placed[:, :2] + placed[:, 2:]) / 2
            inside = (centres >= 0).all(1) & (centres < torch.tensor([columns, rows])).all(1)
            if inside.any() or not len(boxes):
                break
        return window

    def cut(self, image: Tensor, window: Window) -> Tensor:
        """The window of `image`, on the mean colour, uint8 (C, *canvas). Only the visible part is resized."""
        canvas = self.preprocessing.blank()
        rows = visible_part(window.top, canvas.shape[1], window.height, image.shape[1])
        columns = visible_part(window.left, canvas.shape[2], window.width, image.shape[2])
        part = image[:, rows.source, columns.source]
        resized = self.preprocessing.resized(part, rows.length, columns.length)
        canvas[:, rows.target, columns.target] = resized[:, rows.shown, columns.shown]
        return canvas


class Part(NamedTuple):
    """Of one axis: the pixels of the image that are visible, the length that they are resized to, and which of these
    go to which pixels of the input."""

    source: slice
    length: int
    shown: slice
    target: slice


def visible_part(start: int, room: int, length: int, pixels: int) -> Part:
    """The part of an axis of `pixels` pixels, resized to `length`, that a window of `room` pixels from `start` shows.

    Whole pixels of the image are resized to whole pixels, each edge moved by half a pixel at most.
    """
    first, last = max(start, 0), min(start + room, length)
    scale = length / pixels
    source = slice(int(first / scale), min(math.ceil(last / scale), pixels))
    begin, end = round(source.start * scale), round(source.stop * scale)
    return Part(
        source,
        max(end - begin, 1),
        slice(max(first - begin, 0), last - begin),
        slice(first - start, last - start),
    )


def offset(length: int, room: int) -> int:
    """A random place of `room` pixels in `length`, or of `length` in `room`, as a negative number."""
    spare = length - room
    drawn = int(torch.randint(abs(spare) + 1, ()))
    return drawn if spare >= 0 else -drawn
