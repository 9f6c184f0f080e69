"""Boxes between the original image and the network's input, by the preprocessing that placed the image there."""

import torch
from torch import Tensor

from skipway.data.preprocess import Preprocessing


def scale_and_offset(preprocessing: Preprocessing, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(4,) factors and (4,) offsets, in pixels of the input, that take a box of an image of `size` (height, width)
    pixels to the input.

    Each axis has its own factor, because the sides are rounded to whole pixels.
    """
    height, width = size
    place = preprocessing.placement(height, width)
    scale = torch.tensor([place.width / width, place.height / height] * 2)
    return scale, torch.tensor([place.left, place.top] * 2, dtype=torch.float32)


def to_input(boxes: Tensor, preprocessing: Preprocessing, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) of an image of `size` (height, width) pixels, in pixels of the network's input."""
    scale, offset = scale_and_offset(preprocessing, size)
    return boxes * scale + offset


def to_image(boxes: Tensor, preprocessing: Preprocessing, size: tuple[int, int]) -> Tensor:
    """The inverse of `to_input`, clipped to the image."""
    scale, offset = scale_and_offset(preprocessing, size)
    return clip((boxes - offset) / scale, size)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) clipped to an image of `size` (height, width) pixels."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), torch.tensor([width, height] * 2, dtype=boxes.dtype))


def areas_of(boxes: Tensor) -> Tensor:
    """(...,) areas of boxes (..., 4); 0 for inverted ones."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)
