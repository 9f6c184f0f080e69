"""FCOS: a box and a score of every class at every place of the pyramid, without anchor boxes.

Tian, Shen, Chen, He: FCOS: Fully Convolutional One-Stage Object Detection. ICCV 2019, arXiv:1904.01355; with the
improvements of FCOS: A Simple and Strong Anchor-Free Object Detector. TPAMI 2022, arXiv:2006.09214.

Differences from the papers, as in torchvision, whose weights load unchanged:
- The distances to a box's sides are a rectified output times the stride, without a learned scale per level.
- The centre-ness is a branch of the regression tower, places near a box's centre are positive (radius 1.5 strides), and
  the regression loss is GIoU's, without weights: the improvements of the second paper.
Candidates are the best of all levels together, where torchvision takes the best of each.

Losses, of the sum of all positive places of a batch, are divided by their number.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, generalized_box_iou_loss, sigmoid_focal_loss

from skipway.models.base import Network
from skipway.models.detection.backbone import dense_pyramid
from skipway.models.detection.base import Detections, Detector, Objects
from skipway.models.detection.dense import best_candidates, flatten_map, grid, initialise, start_at_prior, take

RADIUS = 1.5  # of the positive places around a box's centre, in strides
CANDIDATES = 1000

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def tower(channels: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions, each with group normalisation and a rectifier. (N, channels, H, W) unchanged."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(32, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class ClassificationHead(nn.Module):
    """Maps (N, channels, H, W) -> logits of the classes (N, places, classes)."""

    def __init__(self, channels: int, depth: int, classes: int) -> None:
        super().__init__()
        self.conv = tower(channels, depth)
        self.cls_logits = nn.Conv2d(channels, classes, 3, padding=1)
        initialise(self)
        start_at_prior(self.cls_logits)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat([flatten_map(x, x.shape[1]) for x in (self.cls_logits(self.conv(m)) for m in maps)], 1)


class RegressionHead(nn.Module):
    """Maps (N, channels, H, W) -> distances to a box's sides in strides (N, places, 4), and centre-ness logits
    (N, places, 1)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.conv = tower(channels, depth)
        self.bbox_reg = nn.Conv2d(channels, 4, 3, padding=1)
        self.bbox_ctrness = nn.Conv2d(channels, 1, 3, padding=1)
        initialise(self)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        maps = [self.conv(m) for m in maps]
        distances = torch.cat([flatten_map(F.relu(self.bbox_reg(m)), 4) for m in maps], 1)
        return distances, torch.cat([flatten_map(self.bbox_ctrness(m), 1) for m in maps], 1)


class Raw(NamedTuple):
    """The outputs of the head, float32: logits (N, P, classes), distances (N, P, 4), centre-ness logits (N, P)."""

    logits: Tensor
    distances: Tensor
    centreness: Tensor


class Head(nn.Module):
    """Both towers, shared by all levels. Maps, finest first -> `Raw`, of the places of all of them."""

    def __init__(self, channels: int, depth: int, classes: int) -> None:
        super().__init__()
        self.classification_head = ClassificationHead(channels, depth, classes)
        self.regression_head = RegressionHead(channels, depth)

    def forward(self, maps: list[Tensor]) -> Raw:
        distances, centreness = self.regression_head(maps)
        return Raw(self.classification_head(maps).float(), distances.float(), centreness[..., 0].float())


class Places(NamedTuple):
    """Where the P places are, and of which boxes they may be positive.

    centres: (P, 2), x and y in pixels; sizes: (P,), strides in pixels; lower, upper: (P,), the range of the distance
    to the farthest side of a box, in pixels.
    """

    centres: Tensor
    sizes: Tensor
    lower: Tensor
    upper: Tensor


def places_of(maps: list[Tensor], images: Tensor, strides: list[int]) -> Places:
    """The places of `maps`: a level is for boxes of 4 to 8 strides, and the first and last also for those beyond."""
    centres = grid(maps, images.shape[-2], images.shape[-1])
    sizes = torch.cat([torch.full_like(c[:, 0], stride) for c, stride in zip(centres, strides, strict=True)])
    lower, upper = 4 * sizes, 8 * sizes
    lower[: len(centres[0])], upper[-len(centres[-1]) :] = 0, torch.inf
    return Places(torch.cat(centres), sizes, lower, upper)


# ---------------------------------------------------------------------------------------------------------------------
# Loss


def match(places: Places, targets: Objects) -> Tensor:
    """For each place the row of its box in `targets`, or -1: int64 (N, P).

    A place is positive for a box that contains it, whose centre is near and whose size is its level's; of several for
    the smallest, and of equal ones for the first.
    """
    left, top, right, bottom = targets.boxes[:, None].unbind(-1)  # (N, 1, M)
    x, y = places.centres[:, :1], places.centres[:, 1:]  # (P, 1)
    away = torch.maximum(((left + right) / 2 - x).abs(), ((top + bottom) / 2 - y).abs())
    near = away < RADIUS * places.sizes[:, None]
    nearest = torch.minimum(torch.minimum(x - left, right - x), torch.minimum(y - top, bottom - y))
    farthest = torch.maximum(torch.maximum(x - left, right - x), torch.maximum(y - top, bottom - y))
    fits = near & (nearest > 0) & (farthest > places.lower[:, None]) & (farthest < places.upper[:, None])
    fits &= targets.labels[:, None] >= 0
    areas = ((right - left) * (bottom - top)).masked_fill(~fits, torch.inf)
    smallest, row = areas.min(2)
    return row.masked_fill(smallest.isinf(), -1)


def without_padding(targets: Objects) -> Objects:
    """`targets` without the columns in which no image has a box, except the first."""
    used = (targets.labels >= 0).any(0)
    used[:1] = True
    return Objects(targets.boxes[:, used], targets.labels[:, used])


def decode(distances: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
    """The boxes (..., 4) at `distances` (..., 4), in strides, from `centres` (..., 2): left, top, right, bottom."""
    pixels = distances * sizes[..., None]
    return torch.cat([centres - pixels[..., :2], centres + pixels[..., 2:]], -1)


def centreness_of(boxes: Tensor, centres: Tensor) -> Tensor:
    """How central places (P, 2) are in their boxes (N, P, 4), 0 at a side and 1 at the centre: (N, P) (eq. 3)."""
    before, after = centres - boxes[..., :2], boxes[..., 2:] - centres
    ratios = torch.minimum(before, after) / torch.maximum(before, after)
    return ratios.prod(-1).sqrt()


def mean_positives(positive: Tensor, everywhere: bool) -> Tensor:
    """The number of positive places, at least 1; `everywhere`: its mean over the processes of a run, if there are
    several, so that the mean of their gradients is that of one process with all images."""
    count = positive.sum().float()
    if everywhere and dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)


def losses_of(raw: Raw, places: Places, targets: Objects, everywhere: bool) -> dict[str, Tensor]:
    """The three losses, under torchvision's names. All shapes are fixed: places that are not positive learn to
    predict a box of their own, with weight 0."""
    targets = without_padding(targets)
    rows = match(places, targets)
    positive, rows = rows >= 0, rows.clamp(min=0)
    own = decode(torch.ones_like(raw.distances[:1]), places.centres, places.sizes)
    boxes = torch.where(positive[..., None], take(targets.boxes, rows), own)
    labels = targets.labels.gather(1, rows).clamp(min=0)
    truth = torch.zeros_like(raw.logits).scatter_(2, labels[..., None], positive[..., None].float())
    predicted = decode(raw.distances, places.centres, places.sizes)
    overlap = generalized_box_iou_loss(predicted, boxes) * positive
    central = F.binary_cross_entropy_with_logits(raw.centreness, centreness_of(boxes, places.centres), reduction="none")
    total = mean_positives(positive, everywhere)
    return {
        "classification": sigmoid_focal_loss(raw.logits, truth, reduction="sum") / total,
        "bbox_regression": overlap.sum() / total,
        "bbox_ctrness": (central * positive).sum() / total,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Net


class FCOS(Detector):
    """`body` with a pyramid of `width` channels, and towers of `depth` convolutions with as many."""

    def __init__(self, body: Network, classes: int, width: int = 256, depth: int = 4) -> None:
        super().__init__(dense_pyramid(body, width), ("head.classification_head.cls_logits",), nms_threshold=0.6)
        self.head = Head(width, depth, classes)

    def count_classes(self, outputs: int) -> int:
        return outputs

    def losses(self, images: Tensor, targets: Objects) -> dict[str, Tensor]:
        """Images (N, C, H, W) and their objects -> the losses of classes, boxes and centre-ness. In training mode a
        collective operation of all processes of a run."""
        maps = self.features(images)
        return losses_of(self.head(maps), places_of(maps, images, self.strides), targets, self.training)

    def detect(self, images: Tensor) -> Detections:
        """Images (N, C, H, W) -> the CANDIDATES best places and classes, scored by the geometric mean of class and
        centre-ness."""
        maps = self.features(images)
        raw, places = self.head(maps), places_of(maps, images, self.strides)
        scores = (raw.logits.sigmoid() * raw.centreness.sigmoid()[..., None]).sqrt()
        best, rows, labels = best_candidates(scores, CANDIDATES)
        boxes = decode(take(raw.distances, rows), places.centres[rows], places.sizes[rows])
        return Detections(clip_boxes_to_image(boxes, (images.shape[-2], images.shape[-1])), best, labels)
