"""Image preprocessing in NumPy: the pixels of `data.preprocess`, bit for bit."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skipway.data.decode import decode_pixels
from skipway.data.fitting import Fitting
from skipway.runtime.resize import center_crop, resize


class FittedPixels(NamedTuple):
    """The network's input, uint8 (C, H, W), and the size of the image that it was made of, height and width."""

    image: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class ArrayPreprocessing(Fitting):
    """The fields are `Fitting`'s."""

    def resized(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        return resize(image, height, width, self.filter, self.antialias)

    def cropped(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        return center_crop(image, height, width)

    def blank(self) -> np.ndarray:
        """An input of the mean colour, uint8 (C, *canvas)."""
        mean = np.round(np.array(self.mean, dtype=np.float32) * 255).astype(np.uint8)
        return np.tile(mean.reshape(-1, 1, 1), (1, *self.canvas))

    def opened(self, item: Path | bytes | np.ndarray, name: str) -> FittedPixels:
        """The item, as `decode` takes it, as uint8 (C, *canvas). Raises DataError naming the image."""
        values, size = decode_pixels(item, self.channels, name, self.background, self.least)
        return FittedPixels(np.ascontiguousarray(self.fitted(values.transpose(2, 0, 1))), size)
