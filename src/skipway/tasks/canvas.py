"""The network's input for images of any shape: their median shape, in multiples of a stride."""

import numpy as np

MOST_ASPECT = 2.0  # of the input's sides


def rounded(side: float, multiple: int) -> int:
    """The nearest multiple, at least one."""
    return max(round(side / multiple), 1) * multiple


def longer_side(sizes: np.ndarray, most: int, multiple: int) -> int:
    """The median longer side of images of `sizes` (n, 2), in pixels, at most `most`."""
    return min(rounded(float(np.median(sizes.max(1))), multiple), most)


def median_canvas(sizes: np.ndarray, longer: int, multiple: int) -> tuple[int, int]:
    """Height and width: `longer` for the longer side, the other by the median shape of images of `sizes` (n, 2)."""
    heights, widths = sizes.T
    aspect = float(np.clip(np.median(widths / heights), 1 / MOST_ASPECT, MOST_ASPECT))
    height, width = (longer / aspect, longer) if aspect >= 1 else (longer, longer * aspect)
    return rounded(height, multiple), rounded(width, multiple)
