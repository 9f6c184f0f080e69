"""Objects of a large image, from overlapping tiles of it and from the whole of it.

As in Akyon, Altinuc, Temizel: Slicing Aided Hyper Inference. ICIP 2022, arXiv:2202.06934: tiles find small objects, and
the image in one piece the large ones.
"""

import numpy as np
import torch

from skipway.tasks.base import Outputs
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.detections import Decoder
from skipway.tasks.detect.prediction import ObjectPrediction, objects_of

EDGE = 2.0  # pixels: a box that comes as near to an inner edge of a tile is cut off there, and whole in another tile


class ObjectStitcher:
    """decoder: from outputs to detections; threshold: the least score; size: height and width of the image."""

    def __init__(self, decoder: Decoder, classes: tuple[str, ...], threshold: float, size: tuple[int, int]) -> None:
        self.decoder, self.classes, self.threshold, self.size = decoder, classes, threshold, size
        self.found: list[Detected] = []

    def add(self, outputs: Outputs, top: int, left: int) -> None:
        tile = self.decoder.preprocessing.canvas
        found = self.decoder(outputs, tile).above(self.threshold)
        low, high = found.boxes[:, :2], found.boxes[:, 2:]
        first = np.array([left > 0, top > 0])  # whether the image goes on there
        last = np.array([left + tile[1] < self.size[1], top + tile[0] < self.size[0]])
        cut = (first & (low < EDGE)) | (last & (high > np.array([tile[1], tile[0]]) - EDGE))
        limits = np.array([self.size[1], self.size[0]] * 2)
        boxes = np.clip(found.boxes + np.array([left, top] * 2), 0, limits)
        kept = ~cut.any(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        masks = None if found.masks is None else found.masks[kept]
        self.found.append(Detected(boxes[kept], found.scores[kept], found.labels[kept], masks))

    def add_whole(self, outputs: Outputs) -> None:
        self.found.append(self.decoder(outputs, self.size).above(self.threshold))

    def finish(self, name: str) -> ObjectPrediction:
        from torchvision.ops import batched_nms  # here, since it takes as long to import as torch

        boxes, scores, labels = (
            np.concatenate([getattr(one, field) for one in self.found]) for field in ("boxes", "scores", "labels")
        )
        best = batched_nms(*(torch.from_numpy(part) for part in (boxes, scores, labels)), self.decoder.nms).numpy()
        masks = [one.masks for one in self.found if one.masks is not None]
        together = np.concatenate(masks)[best] if masks else None
        found = Detected(boxes[best], scores[best], labels[best], together)
        return ObjectPrediction(name, objects=objects_of(found, self.classes, self.size), size=self.size)
