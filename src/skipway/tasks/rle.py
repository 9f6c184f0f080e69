"""Masks as COCO's compressed run-length encoding, {"size": [height, width], "counts": bytes}."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def rle_of(mask: np.ndarray) -> dict[str, Any]:
    """The encoding of a mask bool (H, W)."""
    from faster_coco_eval.core import mask as coco_mask  # which predictions without masks do not need

    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def rle_json(encoded: Mapping[str, Any]) -> dict[str, Any]:
    """An encoding as plain values, with its counts as text."""
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}
