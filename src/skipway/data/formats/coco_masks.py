"""Polygons and run-length encodings of annotation files as COCO's compressed run-length encoding.

The evaluator's own code rasterises, so that masks of annotations and of detections have the same pixels. It is written
in C++ and trusts its input, so everything is verified before.
"""

from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from skipway.data.formats.image_size import Mask

FAR = 4  # sides of the image that a polygon may lie outside it; the rasteriser's memory grows with the distance


def to_numbers(values: list[Any], what: str) -> np.ndarray:
    """`values` as float64 (n,). Raises ValueError if one is not a finite number; a bool is none."""
    if not {type(value) for value in values} <= {int, float}:
        raise ValueError(f"{what} are not all numbers")
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        numbers = np.array([np.inf])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} are not all finite numbers")
    return numbers


def from_polygons(polygons: list[Any], width: int, height: int) -> Mask:
    """The union of polygons, each a list x1, y1, x2, y2, ... in pixels. Raises ValueError."""
    lists = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon is not a list of at least 3 points x, y")
        points = to_numbers(polygon, "the coordinates of a polygon")
        if (np.abs(points.reshape(-1, 2)) > (1 + FAR) * np.array([width, height])).any():
            raise ValueError(f"a polygon is far outside the image of {width} x {height} pixels")
        lists.append(points.tolist())
    encoded = coco_mask.frPyObjects(lists, height, width)
    mask: Mask = encoded[0] if len(encoded) == 1 else coco_mask.merge(encoded)
    return mask


def runs_of(text: str) -> list[int]:
    """The run lengths in COCO's compressed text: signed numbers of 5 bits a character, of which the 6th says that more
    follow; from the fourth number on, the difference to the run before the last. Raises ValueError."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            raise ValueError("the run-length encoding has invalid characters")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run-length encoding is cut off")
    return runs


def from_runs(encoding: dict[str, Any], width: int, height: int) -> Mask:
    """A run-length encoding, compressed or as a list of run lengths. Raises ValueError."""
    counts = encoding.get("counts")
    if encoding.get("size") != [height, width]:
        raise ValueError(f"the run-length encoding is not of size [{height}, {width}], that of the image")
    if isinstance(counts, str):
        counts = runs_of(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise ValueError("the run-length encoding is not a list of run lengths")
    if sum(counts) != width * height:
        raise ValueError(f"the run-length encoding covers {sum(counts)} pixels, and the image has {width * height}")
    encoded: Mask = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return encoded


def to_mask(segmentation: Any, width: int, height: int) -> Mask | None:
    """The mask of a COCO `segmentation` in an image of this size; None if there is none. Raises ValueError."""
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return from_runs(segmentation, width, height)
    if isinstance(segmentation, list):
        return from_polygons(segmentation, width, height)
    raise ValueError("segmentation is neither polygons nor a run-length encoding")


def area_of(mask: Mask) -> float:
    """The number of pixels of a mask."""
    return float(coco_mask.area(mask))
