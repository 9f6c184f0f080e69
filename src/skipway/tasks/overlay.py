"""Heat laid over an image. The colours are matplotlib's inferno: brighter is hotter, to every kind of eye."""

import numpy as np

COLOURS = "inferno"


def coloured(heat: np.ndarray) -> np.ndarray:
    """Heat in [0, 1] (values beyond count as the ends) -> uint8 colours, with one more axis of 3."""
    from matplotlib import colormaps

    return colormaps[COLOURS](np.clip(heat, 0.0, 1.0), bytes=True)[..., :3]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) and heat (H, W) in [0, 1] -> uint8 (H, W, 3): the image in grey, coloured as far as it is hot.

    Grey, so that every colour is heat. Raises ValueError for shapes that do not belong together.
    """
    if image.shape != (*heat.shape, 3):
        raise ValueError(f"an image of shape {image.shape} and heat of shape {heat.shape} do not lie over each other")
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    share = 0.15 + 0.6 * np.clip(heat, 0.0, 1.0)[..., None]
    mixed = (1 - share) * luma[..., None] + share * coloured(heat)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)
