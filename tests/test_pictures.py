"""Images in pages, compared with Pillow."""

import base64
import io

import numpy as np
from PIL import Image

from skipway.reporting.pictures import as_uri


def decoded(uri: str) -> np.ndarray:
    kind, content = uri.split(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_an_image_without_a_quality_keeps_every_pixel_and_a_lower_quality_is_shorter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    picture = Image.fromarray(pixels)
    assert np.array_equal(decoded(as_uri(picture, None)), pixels)
    assert len(as_uri(picture, 20)) < len(as_uri(picture, 90)) < len(as_uri(picture, None))
