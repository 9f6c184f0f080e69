"""Generated images side by side, pixel by pixel."""

import math
from collections.abc import Sequence

import numpy as np

GAP = 2  # pixels between images


def enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    """(..., H, W, C), each pixel repeated in both directions: the longer side then has `side` pixels, or more."""
    factor = math.ceil(side / max(pixels.shape[-3:-1]))
    return pixels.repeat(factor, -3).repeat(factor, -2)


def arranged(images: Sequence[np.ndarray], rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Images uint8 (H, W, C) of equal shape as one: in each row those at its positions.

    Gaps are white, and transparent where the images have an alpha channel.
    """
    height, width, channels = images[0].shape
    columns = max(map(len, rows))
    shape = (len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    sheet = np.full(shape, 255, np.uint8)
    if channels in (2, 4):
        sheet[..., -1] = 0
    for i, row in enumerate(rows):
        for j, position in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            sheet[top : top + height, left : left + width] = images[position]
    return sheet


def split(positions: Sequence[int], columns: int) -> list[list[int]]:
    """Rows of `columns` positions each, the last of what is left."""
    return [list(positions[start : start + columns]) for start in range(0, len(positions), columns)]
