"""RetinaNet: scores and offsets of nine anchor boxes at every place of the pyramid.

Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection. ICCV 2017, arXiv:1708.02002.

Differences from the paper, as in torchvision, whose weights load unchanged:
- The losses of each image are divided by the number of its positive anchors, and averaged over the images.
- Version 2 (after Zhang, Chi, Yao, Lei, Li: arXiv:1912.02424) has group normalisation in its towers, computes P6 from
  the body's last map, as the paper does, and not from P5, and learns boxes by GIoU.
Candidates are the best of all levels together, where torchvision takes the best of each.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image, generalized_box_iou_loss, sigmoid_focal_loss

from skipway.models.base import Network
from skipway.models.detection.backbone import dense_pyramid
from skipway.models.detection.base import Detections, Detector, Objects
from skipway.models.detection.dense import best_candidates, flatten_map, grid, initialise, start_at_prior, take

SIZES = (32, 64, 128, 256, 512)  # pixels, of the levels' smallest anchors
RATIOS = (0.5, 1.0, 2.0)  # height over width
SCALES = 3  # anchors of an octave
ANCHORS = SCALES * len(RATIOS)
POSITIVE, NEGATIVE = 0.5, 0.4  # IoU from which an anchor is positive, and below which it is negative
BACKGROUND, IGNORED = -1, -2
MOST = math.log(1000 / 16)  # of the logarithm of a factor of a side, so that no box is infinite
CANDIDATES = 1000

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def tower(channels: int, norm: bool) -> nn.Sequential:
    """Four 3x3 convolutions, with group normalisation if `norm`, and rectifiers. (N, channels, H, W) unchanged."""
    layers = []
    for _ in range(4):
        norms = [nn.GroupNorm(32, channels)] if norm else []
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        layers.append(nn.Sequential(convolution, *norms, nn.ReLU(inplace=True)))
    return nn.Sequential(*layers)


class ClassificationHead(nn.Module):
    """Maps (N, channels, H, W) -> logits of the classes (N, anchors, classes)."""

    def __init__(self, channels: int, classes: int, norm: bool) -> None:
        super().__init__()
        self.conv = tower(channels, norm)
        self.cls_logits = nn.Conv2d(channels, ANCHORS * classes, 3, padding=1)
        initialise(self)
        start_at_prior(self.cls_logits)

    def forward(self, maps: list[Tensor]) -> Tensor:
        outputs = [self.cls_logits(self.conv(m)) for m in maps]
        return torch.cat([flatten_map(x, x.shape[1] // ANCHORS) for x in outputs], 1)


class RegressionHead(nn.Module):
    """Maps (N, channels, H, W) -> offsets from the anchors (N, anchors, 4)."""

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.conv = tower(channels, norm)
        self.bbox_reg = nn.Conv2d(channels, ANCHORS * 4, 3, padding=1)
        initialise(self)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([flatten_map(self.bbox_reg(self.conv(m)), 4) for m in maps], 1)


class Raw(NamedTuple):
    """The outputs of the head, float32: logits (N, A, classes) and offsets (N, A, 4) of all anchors."""

    logits: Tensor
    offsets: Tensor


class Head(nn.Module):
    """Both towers, shared by all levels. Maps, finest first -> `Raw`."""

    def __init__(self, channels: int, classes: int, norm: bool) -> None:
        super().__init__()
        self.classification_head = ClassificationHead(channels, classes, norm)
        self.regression_head = RegressionHead(channels, norm)

    def forward(self, maps: list[Tensor]) -> Raw:
        return Raw(self.classification_head(maps).float(), self.regression_head(maps).float())


def anchors_of(maps: list[Tensor], images: Tensor) -> Tensor:
    """The anchors of all levels (A, 4), left, top, right, bottom in pixels: by place, ratio and scale (sec. 4)."""
    anchors = []
    for size, places in zip(SIZES, grid(maps, images.shape[-2], images.shape[-1]), strict=True):
        sides = places.new_tensor([int(size * 2 ** (i / SCALES)) for i in range(SCALES)])  # whole, as torchvision's
        roots = places.new_tensor(RATIOS).sqrt()[:, None]
        half = torch.stack([sides / roots, sides * roots], -1).reshape(-1, 2) / 2
        around = torch.cat([-half, half], 1).round()
        anchors.append((places.repeat(1, 2)[:, None] + around).reshape(-1, 4))
    return torch.cat(anchors)


# ---------------------------------------------------------------------------------------------------------------------
# Boxes as offsets from anchors (R-CNN, arXiv:1311.2524, appendix C)


def centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (..., 4) -> centres (..., 2), x and y, and sides (..., 2), width and height."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, sides


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """The offsets of `boxes` (..., 4) from `anchors` (..., 4)."""
    (centres, sides), (own, reach) = centres_and_sides(boxes), centres_and_sides(anchors)
    return torch.cat([(centres - own) / reach, (sides / reach).log()], -1)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes (..., 4) at `offsets` (..., 4) from `anchors` (..., 4): left, top, right, bottom."""
    own, reach = centres_and_sides(anchors)
    centres, sides = own + offsets[..., :2] * reach, offsets[..., 2:].clamp(max=MOST).exp() * reach
    return torch.cat([centres - sides / 2, centres + sides / 2], -1)


# ---------------------------------------------------------------------------------------------------------------------
# Loss


def match(anchors: Tensor, boxes: Tensor) -> Tensor:
    """For each anchor the row of its box in `boxes` (M, 4), BACKGROUND or IGNORED: int64 (A,) (sec. 4).

    The anchors that overlap a box most are positive even below the threshold, for the box that they overlap most.
    """
    if not len(boxes):
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    iou = box_iou(boxes, anchors)
    overlap, row = iou.max(0)
    found = row.masked_fill(overlap < POSITIVE, IGNORED).masked_fill(overlap < NEGATIVE, BACKGROUND)
    most = iou.max(1, keepdim=True).values
    needed = ((iou == most) & (most > 0)).any(0)  # a box that overlaps no anchor has none
    return torch.where(needed, row, found)


def losses_of(raw: Raw, anchors: Tensor, targets: Objects, giou: bool) -> dict[str, Tensor]:
    """The losses of classes and boxes, under torchvision's names."""
    rows = torch.stack(  # image by image: the overlaps of all boxes of a batch with all anchors may not fit in memory
        [match(anchors, boxes[labels >= 0]) for boxes, labels in zip(targets.boxes, targets.labels, strict=True)]
    )
    order = (targets.labels < 0).sort(dim=1, stable=True).indices  # `rows` count an image's boxes without padding
    rows_of_targets = order.gather(1, rows.clamp(min=0, max=order.shape[1] - 1))
    image, anchor = torch.where(rows >= 0)
    row = rows_of_targets[image, anchor]
    truth = torch.zeros_like(raw.logits)
    truth[image, anchor, targets.labels[image, row]] = 1
    positives = (rows >= 0).sum(1).clamp(min=1)
    learned = (rows != IGNORED)[..., None]
    focal = (sigmoid_focal_loss(raw.logits, truth) * learned).sum((1, 2))
    boxes, offsets, own = targets.boxes[image, row], raw.offsets[image, anchor], anchors[anchor]
    if giou:
        each = generalized_box_iou_loss(decode(offsets, own), boxes)
    else:
        each = F.l1_loss(offsets, encode(boxes, own), reduction="none").sum(1)
    return {
        "classification": (focal / positives).mean(),
        "bbox_regression": (each / positives[image]).sum() / len(rows),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Net


class RetinaNet(Detector):
    """`body` with a pyramid and towers of 256 channels; `v2`: version 2 (see the module docstring)."""

    def __init__(self, body: Network, classes: int, v2: bool = False) -> None:
        pyramid = dense_pyramid(body, 256, coarse_from_body=v2)
        super().__init__(pyramid, ("head.classification_head.cls_logits",), nms_threshold=0.5)
        self.head = Head(256, classes, norm=v2)
        self.giou = v2

    def count_classes(self, outputs: int) -> int:
        return outputs // ANCHORS

    def losses(self, images: Tensor, targets: Objects) -> dict[str, Tensor]:
        """Images (N, C, H, W) and their objects -> the losses of classes and boxes."""
        maps = self.features(images)
        return losses_of(self.head(maps), anchors_of(maps, images), targets, self.giou)

    def detect(self, images: Tensor) -> Detections:
        """Images (N, C, H, W) -> the CANDIDATES best anchors and classes."""
        maps = self.features(images)
        raw, anchors = self.head(maps), anchors_of(maps, images)
        best, rows, labels = best_candidates(raw.logits.sigmoid(), CANDIDATES)
        boxes = decode(take(raw.offsets, rows), anchors[rows])
        return Detections(clip_boxes_to_image(boxes, (images.shape[-2], images.shape[-1])), best, labels)
