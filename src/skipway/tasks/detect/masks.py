"""Masks of detections as run-length encodings in the original image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from skipway.tasks.detect.detected import Detected

MASKED = 0.5  # probability of a pixel from which on it belongs to the object


def decoded(masks: Sequence[dict[str, Any] | None], size: tuple[int, int]) -> Tensor:
    """Run-length encodings as uint8 (m, H, W) of 0 and 1; of a box without a mask all 0."""
    whole = torch.zeros(len(masks), *size, dtype=torch.uint8)
    for place, mask in enumerate(masks):
        if mask is not None:
            whole[place] = torch.from_numpy(np.ascontiguousarray(coco_mask.decode(mask)))
    return whole


def paste_masks(found: Detected, size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO's run-length encoding of each detection's mask in an image of `size` (height, width) pixels.

    One at a time, so that memory does not grow with the detections (He 2017, arXiv:1703.06870, sec. 3.1: resized to the
    box and binarised at 0.5).
    """
    assert found.masks is not None
    return [encoded(mask, box, size) for mask, box in zip(found.masks, found.boxes, strict=True)]


def encoded(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """The encoding of a mask (28, 28) of probabilities in `box`, whose values are at the centres of its cells."""
    height, width = size
    left, top, right, bottom = box
    x0, y0, x1, y1 = int(left), int(top), min(int(np.ceil(right)), width), min(int(np.ceil(bottom)), height)
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    if x1 > x0 and y1 > y0:
        x = (np.arange(x0, x1) + 0.5 - left) / max(right - left, 1e-6) * 2 - 1
        y = (np.arange(y0, y1) + 0.5 - top) / max(bottom - top, 1e-6) * 2 - 1
        grid = torch.from_numpy(np.stack(np.meshgrid(x, y), -1)).float().unsqueeze(0)
        values = F.grid_sample(torch.from_numpy(mask)[None, None], grid, align_corners=False, padding_mode="border")
        whole[y0:y1, x0:x1] = values[0, 0].numpy() >= MASKED
    return coco_mask.encode(whole)
