"""Resizing of uint8 images in NumPy, bit for bit as torch resizes them on processors with AVX2.

torch computes an output pixel from weights of 15 bits: one side after the other, rounded to bytes in between (PyTorch,
aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h, after Pillow-SIMD). Here the same whole numbers are multiplied by
matrix products in float64, which holds all of them exactly.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from skipway.data.fitting import Filter

GROUP = 32  # pixels that are computed together from the part of the image that they all need
LARGEST_WEIGHT = 1 << 15
MOST_BITS = 22


class Weights(NamedTuple):
    """starts: int64 (out,), the first pixel of the input that an output pixel is made of; values: float64 (out, taps),
    whole numbers; bits: by how many binary places they are too large."""

    starts: np.ndarray
    values: np.ndarray
    bits: int


def bilinear(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def bicubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution with the parameter `a`."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


@lru_cache(maxsize=64)
def weights_for(size: int, wanted: int, mode: Filter, antialias: bool) -> Weights:
    """From `size` pixels of a side to `wanted`."""
    scale = size / wanted
    reach = 1.0 if mode == "bilinear" else 2.0
    if antialias:
        stretched = max(scale, 1.0)
        support = reach * stretched
        centres = scale * (np.arange(wanted) + 0.5)
        starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
        ends = np.minimum((centres + support + 0.5).astype(np.int64), size)
        taps = np.arange(int(np.ceil(support)) * 2 + 1)
        at = (taps + starts[:, None] - centres[:, None] + 0.5) * (1 / stretched)
        values = bilinear(at) if mode == "bilinear" else bicubic(at, -0.5)
        values = np.where(taps < (ends - starts)[:, None], values, 0)
        values /= values.sum(1, keepdims=True)
        largest = values.max()
    else:
        starts, values, largest = interpolation(size, wanted, mode)
    bits = next((b for b in range(MOST_BITS) if int(0.5 + largest * (1 << b + 1)) >= LARGEST_WEIGHT), MOST_BITS)
    return Weights(starts, np.trunc(values * (1 << bits) + np.where(values < 0, -0.5, 0.5)), bits)


def interpolation(size: int, wanted: int, mode: Filter) -> tuple[np.ndarray, np.ndarray, float]:
    """Starts and weights without antialiasing: the nearest 2 or 4 pixels, those beyond the edge being the edge's; and
    the largest weight, of one pixel or of those that became one."""
    count = 2 if mode == "bilinear" else 4
    at = (size / wanted) * (np.arange(wanted) + 0.5) - 0.5
    if mode == "bilinear":
        at = np.maximum(at, 0)
    first = np.floor(at).astype(np.int64)
    share = np.clip(at - first, 0, 1)[:, None]
    distance = share + (count // 2 - 1) - np.arange(count)
    values = bilinear(distance) if mode == "bilinear" else bicubic(distance, -0.75)
    places = np.clip(first[:, None] - (count // 2 - 1) + np.arange(count), 0, size - 1)
    starts = places[:, 0]
    gathered = np.zeros((wanted, count))
    for tap in range(count):
        np.add.at(gathered, (np.arange(wanted), places[:, tap] - starts), values[:, tap])
    return starts, gathered, max(values.max(), gathered.max())


def along(image: np.ndarray, weights: Weights, axis: int) -> np.ndarray:
    """uint8 (C, H, W) resized along `axis`, 1 or 2."""
    starts, values, bits = weights
    parts = []
    for first in range(0, len(starts), GROUP):
        here, taps = starts[first : first + GROUP], values[first : first + GROUP]
        begin, end = int(here[0]), min(int(here[-1]) + taps.shape[1], image.shape[axis])
        matrix = np.zeros((len(here), int(here[-1]) + taps.shape[1] - begin))
        for row, (start, one) in enumerate(zip(here - begin, taps, strict=True)):
            matrix[row, start : start + len(one)] = one
        matrix = matrix[:, : end - begin]  # what lies beyond the edge has no weight
        part: Any = image[:, begin:end] if axis == 1 else image[:, :, begin:end]
        summed = matrix @ part.astype(np.float64) if axis == 1 else part.astype(np.float64) @ matrix.T
        rounded = np.floor((summed + (1 << bits - 1)) * 0.5**bits)
        parts.append(np.clip(rounded, 0, 255).astype(np.uint8))
    return np.concatenate(parts, axis=axis)


def resize(image: np.ndarray, height: int, width: int, mode: Filter, antialias: bool) -> np.ndarray:
    """uint8 (C, H, W) -> uint8 (C, height, width)."""
    if image.shape[2] != width:
        image = along(image, weights_for(image.shape[2], width, mode, antialias), 2)
    if image.shape[1] != height:
        image = along(image, weights_for(image.shape[1], height, mode, antialias), 1)
    return image


def center_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The central (C, height, width) of `image` (C, H, W), which is padded with 0 where it is smaller: as
    `data.resize.center_crop`."""
    rows, columns = max(height - image.shape[1], 0), max(width - image.shape[2], 0)
    if rows or columns:
        image = np.pad(image, ((0, 0), (rows // 2, (rows + 1) // 2), (columns // 2, (columns + 1) // 2)))
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]
