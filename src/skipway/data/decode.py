"""From a path, bytes or an array to a uint8 tensor (C, H, W): orientation applied, grey and alpha handled.

Pillow decodes, because photographs come in more modes than any faster decoder takes. A fault names the image.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from skipway.data.source import Item
from skipway.errors import DataError

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels
# Pillow only warns of images past its limit, which `decode` refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode` ("RGB" or "L"): transparency over BACKGROUND, 16-bit grey scaled by 1/257."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        values = np.clip(np.asarray(image, dtype=np.float64) / 257 + 0.5, 0, 255)
        image = Image.fromarray(values.astype(np.uint8))
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image.convert(mode)


def decode(item: Item, channels: int, name: str) -> Tensor:
    """The image as uint8 (channels, H, W); channels is 1 or 3. `name` stands in messages.

    Raises DataError, naming the image, when it cannot be read whole.
    """
    if isinstance(item, np.ndarray):
        if item.shape[2] != channels:
            raise DataError(f"{name} has {item.shape[2]} channels, and {channels} are needed: use data of that kind")
        return torch.from_numpy(np.ascontiguousarray(item)).permute(2, 0, 1)
    if channels not in (1, 3):
        raise DataError(f"{name}: photographs open with 1 or 3 channels, not {channels}")
    try:
        with Image.open(item if isinstance(item, Path) else io.BytesIO(item)) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise DataError(f"{name} is {image.width} x {image.height} pixels, too large to trust: make it smaller")
            upright = ImageOps.exif_transpose(image)
            pixels = np.array(as_mode(upright, "RGB" if channels == 3 else "L"))
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that can be read: remove or replace it") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise DataError(f"{name} cannot be read ({reason}): remove or replace it") from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1)
