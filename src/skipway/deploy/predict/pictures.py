"""Pixels of Pillow images and arrays, in the channels that a network takes."""

import numpy as np
from PIL import Image, ImageOps

from skipway.data.decode import MODES, as_mode, bands, require_pixels, require_scale, translate_errors
from skipway.data.fitting import Fitting


def in_channels(array: np.ndarray, preprocessing: Fitting) -> np.ndarray:
    """Grey, uint8 (H, W) or (H, W, 1), for a network of colour, or the other way round: as for files. Anything else is
    returned as it is."""
    held = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size or held not in MODES:
        return array
    if preprocessing.channels not in MODES or preprocessing.channels == held:
        return array
    image = Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and held == 1 else array))
    return np.asarray(image.convert(MODES[preprocessing.channels]))


def read_picture(image: Image.Image, preprocessing: Fitting, name: str) -> np.ndarray:
    """A Pillow image, which stays as it is, as uint8 (H, W, channels): what `decode` makes of a file of it.

    Raises DataError.
    """
    channels = preprocessing.channels
    with translate_errors(name):
        require_pixels(image.width, image.height, name)
        if channels not in MODES:
            return bands(image, channels, name)
        require_scale(image, name)
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # a copy has none, and what CMYK means depends on it
        pixels = np.array(as_mode(upright, MODES[channels], preprocessing.background))
        return pixels.reshape(*pixels.shape[:2], channels)
