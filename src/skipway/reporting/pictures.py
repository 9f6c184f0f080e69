"""Images for pages and files: arrays as RGB images, images as data URIs."""

import base64
import io

import numpy as np
from PIL import Image


def as_rgb(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, C): the first three channels, or the first as grey."""
    shown = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1].repeat(3, 2)
    return Image.fromarray(np.ascontiguousarray(shown))


def shrunk(picture: Image.Image, side: int) -> Image.Image:
    """The picture itself, made smaller where its longer side has more than `side` pixels."""
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def as_uri(picture: Image.Image, quality: int | None) -> str:
    """The image as a data URI, in WebP of `quality` (0 to 100), None for every pixel as it is."""
    file = io.BytesIO()
    picture.save(file, format="WEBP", lossless=quality is None, quality=80 if quality is None else quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
