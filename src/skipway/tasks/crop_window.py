"""Windows of an image: scale jitter and random crops, for images together with annotations that have a place in them.

Scale jitter: Ghiasi, Cui, Srinivas, Qian, Lin, Cubuk, Le, Zoph: Simple Copy-Paste is a Strong Data Augmentation Method
for Instance Segmentation. CVPR 2021, arXiv:2012.07177, sec. 3. Here from 0.5 to 2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skipway.data.preprocess import Preprocessing

SMALLEST, LARGEST = 0.5, 2.0  # scales, relative to the image as evaluation fits it


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

    def of_masks(self, masks: Tensor, canvas: tuple[int, int], outside: int = 0) -> Tensor:
        """Masks uint8 (..., H, W) of the image as (..., *canvas): the nearest pixel of the image for each of the input,
        and `outside` where there is none."""
        height, width = masks.shape[-2:]
        rows = ((torch.arange(canvas[0]) + self.top + 0.5) * height / self.height).floor().long()
        columns = ((torch.arange(canvas[1]) + self.left + 0.5) * width / self.width).floor().long()
        inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        taken = masks[..., rows.clamp(0, height - 1), :][..., columns.clamp(0, width - 1)]
        return taken.masked_fill_(~(inside_rows[:, None] & inside_columns), outside)


def whole_image(preprocessing: Preprocessing, size: tuple[int, int]) -> Window:
    """The window that evaluation shows of an image of `size` (height, width), for the fits that keep it whole."""
    place = preprocessing.placement(*size)
    return Window(place.height, place.width, -place.top, -place.left)


def random_window(preprocessing: Preprocessing, size: tuple[int, int], canvas: tuple[int, int]) -> Window:
    """A window of `canvas` (height, width) pixels at a random place of the image of `size`, at a random scale relative
    to the image as `preprocessing` fits it."""
    rows, columns = preprocessing.canvas
    fitted = min(rows / size[0], columns / size[1])
    low, high = math.log(SMALLEST), math.log(LARGEST)
    scale = fitted * math.exp(low + (high - low) * torch.rand(()).item())
    height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (offset(length, room) for length, room in ((height, canvas[0]), (width, canvas[1])))
    return Window(height, width, top, left)


def cut(image: Tensor, window: Window, preprocessing: Preprocessing) -> Tensor:
    """The window of `image`, on the mean colour, uint8 (C, *canvas). Only the visible part is resized."""
    canvas = preprocessing.blank()
    rows = visible_part(window.top, canvas.shape[1], window.height, image.shape[1])
    columns = visible_part(window.left, canvas.shape[2], window.width, image.shape[2])
    part = image[:, rows.source, columns.source]
    resized = preprocessing.resized(part, rows.length, columns.length)
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
