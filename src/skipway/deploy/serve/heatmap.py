"""A photograph with what the network looked at, laid over the part that it saw."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skipway.attribution.heatmap import overlay
from skipway.data.decode import Colour, decode
from skipway.data.fitting import Fitting
from skipway.data.resize import resize
from skipway.deploy.serve.decode_process import Pixels

LONGEST = 1024  # pixels of the picture that is sent back
UNSEEN = 0.4  # brightness of what the network did not see


def seen(preprocessing: Fitting, height: int, width: int) -> tuple[float, float, float, float]:
    """Top, left, height and width, in pixels of an image, of what `Preprocessing.fitted` makes of it, to the pixel.

    With fit "pad" it reaches beyond the image.
    """
    if preprocessing.fit == "squash":
        return 0.0, 0.0, height, width
    if preprocessing.fit == "crop":
        shorter = min(height, width)
        side = preprocessing.size * shorter / preprocessing.resize
        return (height - side) / 2, (width - side) / 2, side, side
    rows, columns = preprocessing.canvas
    scale, place = min(rows / height, columns / width), preprocessing.placement(height, width)
    return -place.top / scale, -place.left / scale, rows / scale, columns / scale


def photograph(content: bytes, name: str, background: Colour) -> np.ndarray:
    """The whole image, upright, uint8 (H, W, 3), at most LONGEST pixels a side. Raises DataError."""
    image = decode(content, 3, name, background)
    height, width = image.shape[1:]
    scale = LONGEST / max(height, width)
    if scale < 1:
        image = resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
    return image.permute(1, 2, 0).numpy()


def spread(heat: np.ndarray, box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """heat (size, size) over its `box` of an image (height, width); NaN outside of it."""
    top, left, tall, wide = (round(value) for value in box)
    stretched = resize(Tensor(heat)[None], max(1, tall), max(1, wide))[0]
    canvas = torch.full((height, width), float("nan"))
    rows = slice(max(top, 0), min(top + tall, height))
    columns = slice(max(left, 0), min(left + wide, width))
    canvas[rows, columns] = stretched[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return canvas.numpy()


def picture(photo: np.ndarray, heat: np.ndarray, preprocessing: Fitting) -> bytes:
    """`photo` (H, W, 3) with `heat` (size, size) over what the network saw and the rest dimmed, as WebP."""
    height, width = photo.shape[:2]
    laid = spread(heat, seen(preprocessing, height, width), height, width)
    outside = np.isnan(laid)
    mixed = overlay(photo, np.where(outside, 0, laid))
    mixed[outside] = (mixed[outside] * UNSEEN).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(mixed).save(stream, "WEBP", quality=85)
    return stream.getvalue()


@dataclass(frozen=True)
class Showing:
    """What a decoding process does for an image to look at: `photograph`."""

    name: str
    background: Colour

    def __call__(self, content: bytes) -> Pixels:
        photo = photograph(content, self.name, self.background)
        return Pixels(photo, (photo.shape[0], photo.shape[1]))
