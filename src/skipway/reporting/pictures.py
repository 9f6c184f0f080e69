"""Images for pages and files: arrays as RGB images, images as data URIs."""

import base64
import io

import numpy as np
from PIL import Image


def as_rgb(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, C): the first three channels, or the first as grey."""
    shown = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1].repeat(3, 2)
    return Image.fromarray(np.ascontiguousarray(shown))


def as_uri(picture: Image.Image, quality: int) -> str:
    """The image as a data URI, in WebP of `quality` (0 to 100)."""
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
