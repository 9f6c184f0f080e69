"""The size of an image from its header, and boxes and masks turned with it as its EXIF orientation says."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from skipway.data.decode import is_array, open_array
from skipway.data.quality.inspect import UPRIGHT, header_of

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Mask = dict[str, Any]  # COCO's run-length encoding: {"size": [height, width], "counts": bytes}


class ImageSize(NamedTuple):
    """Width and height in pixels of the upright image, and the EXIF orientation that makes it upright (1: none)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the pixels as they are stored."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_size(item: Path | bytes) -> ImageSize | None:
    """The size in an image's header, without decoding pixels; None if the header cannot be read."""
    if is_array(item):
        try:
            shape = open_array(item).shape
        except (OSError, ValueError):
            return None
        return ImageSize(shape[1], shape[0]) if len(shape) in (2, 3) else None
    header = header_of(item)
    if header is None:
        return None
    sides = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
    return ImageSize(*sides, header.orientation)


def upright_box(box: Box, size: ImageSize) -> Box:
    """`box`, drawn on the stored pixels, on the upright image.

    Every orientation is a flip of the columns, of the rows, or both, and then perhaps a transposition.
    """
    left, top, right, bottom = box
    width, height = size.stored
    if size.orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if size.orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if size.orientation >= 5 else (left, top, right, bottom)


def upright_mask(mask: Mask, size: ImageSize) -> Mask:
    """`mask`, drawn on the stored pixels, on the upright image."""
    if size.orientation == 1:
        return mask
    turned: Mask = coco_mask.encode(np.asfortranarray(UPRIGHT[size.orientation](coco_mask.decode(mask))))
    return turned
