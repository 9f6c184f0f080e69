"""Non-maximum suppression behind a detector, in fixed shapes for exported graphs."""

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from skipway.models.detection.base import Detections, Detector
from skipway.models.detection.dense import take


class Suppressed(nn.Module):
    """A detector that predicts at every place, and of its boxes of a class that overlap only the best.

    One image (1, C, H, W) -> `Detections` of at most `most`, whose scores are 0 where there are fewer.
    """

    def __init__(self, detector: Detector, most: int) -> None:
        super().__init__()
        self.detector, self.most = detector, most

    def forward(self, images: Tensor) -> Detections:
        found = self.detector(images)
        # boxes of different classes are moved apart, since they do not suppress each other
        apart = found.boxes + (found.labels * (max(images.shape[-2:]) + 1.0))[..., None]
        kept = nms(apart[0], found.scores[0], self.detector.nms_threshold)
        left = torch.zeros_like(found.scores).scatter(1, kept[None], 1.0)
        scores, places = (found.scores * left).topk(min(self.most, found.scores.shape[1]))
        return Detections(take(found.boxes, places), scores, found.labels.gather(1, places))
