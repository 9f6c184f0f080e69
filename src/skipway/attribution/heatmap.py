"""Heat maps overlaid on images. The colour map is matplotlib's inferno, which is safe for colour blindness."""

import numpy as np

COLOURS = "inferno"


def coloured(heat: np.ndarray) -> np.ndarray:
    """Heat, clipped to [0, 1] -> uint8 colours, with one more axis of 3."""
    from matplotlib import colormaps

    return colormaps[COLOURS](np.clip(heat, 0.0, 1.0), bytes=True)[..., :3]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) and heat (H, W) in [0, 1] -> uint8 (H, W, 3): the image in grey, blended with the heat map.

    Grey, so that all colour is heat. Raises ValueError for shapes that do not match.
    """
    if image.shape != (*heat.shape, 3):
        raise ValueError(f"an image of shape {image.shape} and heat of shape {heat.shape} do not match")
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    share = 0.15 + 0.6 * np.clip(heat, 0.0, 1.0)[..., None]
    mixed = (1 - share) * luma[..., None] + share * coloured(heat)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)
