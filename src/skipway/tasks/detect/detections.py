"""From a network's candidates to an image's detections: non-maximum suppression, in pixels of the original image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skipway.data.preprocess import Preprocessing
from skipway.tasks.base import Outputs
from skipway.tasks.detect.detected import LEAST, MOST, Detected
from skipway.tasks.detect.geometry import to_image


@dataclass(frozen=True)
class Decoder:
    """nms: the overlap (IoU) from which of two boxes of a class only the better is kept."""

    preprocessing: Preprocessing
    nms: float

    def __call__(self, outputs: Outputs, size: tuple[int, int]) -> Detected:
        """`outputs`: of one image of `size` (height, width) pixels, without the batch dimension."""
        from torchvision.ops import batched_nms  # here, since it takes as long to import as torch

        boxes, scores, labels, *masks = outputs
        chosen = torch.nonzero(scores >= LEAST).flatten()
        chosen = chosen[batched_nms(boxes[chosen].float(), scores[chosen].float(), labels[chosen], self.nms)[:MOST]]
        found = to_image(boxes[chosen].float(), self.preprocessing, size)
        return Detected(
            found.double().numpy(),
            scores[chosen].double().numpy(),
            labels[chosen].long().numpy(),
            masks[0][chosen].float().numpy() if masks else None,
        )

    def batch(self, outputs: Outputs, sizes: Tensor | np.ndarray) -> list[Detected]:
        """For outputs (n, ...) and sizes (n, 2)."""
        whole = [tuple(map(int, size)) for size in sizes]
        return [
            self(one, (height, width)) for one, (height, width) in zip(zip(*outputs, strict=True), whole, strict=True)
        ]
