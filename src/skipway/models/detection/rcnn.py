"""Faster R-CNN and Mask R-CNN: proposals, and a second look at each.

Ren, He, Girshick, Sun: Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks. NeurIPS 2015,
arXiv:1506.01497.
He, Gkioxari, Dollár, Girshick: Mask R-CNN. ICCV 2017, arXiv:1703.06870.
He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385, appendix A (`FasterC4`).

Proposals, sampling and losses are torchvision's. Version 2 (after Li, Xie, Chen, Dollar, He, Girshick: Benchmarking
Detection Transfer Learning with Vision Transformers, arXiv:2111.11429) has two convolutions for proposals, four before
the linear layer of the boxes, and batch normalisation in the pyramid and in these.

Class 0 of the heads is the background, so that there is one more output than classes; `Objects` and `Detections` count
classes from 0.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from skipway.errors import SkipwayError
from skipway.models.base import Network, without_classifier
from skipway.models.detection.backbone import region_pyramid
from skipway.models.detection.base import Backbone, Detections, Detector, MaskDetections, Objects
from skipway.models.resnet import ResNet

WIDTH = 256  # channels of the pyramid and its heads
RATIOS = (0.5, 1.0, 2.0)  # height over width of the anchors
PYRAMID_SIZES = ((32,), (64,), (128,), (256,), (512,))  # pixels, of each level's anchors
C4_SIZES = ((64, 128, 256, 512),)  # the 64 is the journal version's, for COCO
DETECTIONS = 100
NMS = 0.5  # IoU
MASK_SIDE = 28
BOX_HEADS = ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")
MASK_HEAD = "roi_heads.mask_predictor.mask_fcn_logits"

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class ProposalHead(RPNHead):
    """Outputs in float32, also where convolutions are in bfloat16, in which boxes would be pixels off."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, offsets = super().forward(x)
        return [one.float() for one in logits], [one.float() for one in offsets]


class BoxPredictor(FastRCNNPredictor):
    """Outputs in float32, for the same reason."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, offsets = super().forward(x)
        return scores.float(), offsets.float()


def proposals(channels: int, sizes: tuple[tuple[int, ...], ...], depth: int, kept: int) -> RegionProposalNetwork:
    """The region proposal network on maps of `channels`, with `depth` convolutions, that gives `kept` proposals per
    image in evaluation; its other settings are torchvision's."""
    anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
    head = ProposalHead(channels, anchors.num_anchors_per_location()[0], conv_depth=depth)
    return RegionProposalNetwork(
        anchors,
        head,
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": kept},
        nms_thresh=0.7,
    )


def region_heads(pool: MultiScaleRoIAlign, head: nn.Module, features: int, classes: int, sampled: int) -> RoIHeads:
    """Pooled maps through `head` to `features` values per proposal, and from these scores and boxes; `sampled`
    proposals per image are learned from."""
    return RoIHeads(
        pool,
        head,
        BoxPredictor(features, classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=sampled,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=NMS,
        detections_per_img=DETECTIONS,
    )


def pool_levels(side: int) -> MultiScaleRoIAlign:
    """`side` x `side` pixels of the pyramid's level that suits a box's size (FPN, eq. 1)."""
    return MultiScaleRoIAlign(["0", "1", "2", "3"], side, sampling_ratio=2)


def box_head(v2: bool) -> nn.Module:
    """(R, WIDTH, 7, 7) -> (R, 1024): two linear layers, or four convolutions and one linear layer."""
    if v2:
        return FastRCNNConvFCHead((WIDTH, 7, 7), [WIDTH] * 4, [1024], norm_layer=nn.BatchNorm2d)
    return TwoMLPHead(WIDTH * 7**2, 1024)


def per_image(targets: Objects) -> list[dict[str, Tensor]]:
    """Each image's objects without padding, as torchvision takes them."""
    found = []
    for i, labels in enumerate(targets.labels):
        present = labels >= 0
        one = {"boxes": targets.boxes[i, present], "labels": labels[present] + 1}
        if targets.masks is not None:
            one["masks"] = targets.masks[i, present]
        found.append(one)
    return found


def padded(found: list[Tensor]) -> Tensor:
    """Rows of each image -> (N, DETECTIONS, ...), with zeros after the rows."""
    return torch.stack([F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, DETECTIONS - len(rows))) for rows in found])


# ---------------------------------------------------------------------------------------------------------------------
# Net


class TwoStage(Detector):
    """A backbone, `rpn` and `roi_heads`.

    What is sampled for the losses is drawn from the global random state.
    """

    def __init__(self, backbone: Backbone, rpn: RegionProposalNetwork) -> None:
        super().__init__(backbone, BOX_HEADS, NMS)
        self.rpn = rpn
        self.roi_heads: RoIHeads

    def count_classes(self, outputs: int) -> int:
        return outputs - 1

    def regions(self, images: Tensor, targets: list[dict[str, Tensor]] | None) -> tuple[list[dict[str, Tensor]], dict]:
        """torchvision's detections of each image, empty in training, and the losses by name, empty in evaluation."""
        sizes = [(images.shape[-2], images.shape[-1])] * len(images)
        maps = {name: level.float() for name, level in self.backbone(images).items()}
        boxes, losses = self.rpn(ImageList(images, sizes), maps, targets)
        found, more = self.roi_heads(maps, boxes, sizes, targets)
        return found, losses | more

    def losses(self, images: Tensor, targets: Objects) -> dict[str, Tensor]:
        """Images (N, C, H, W) and their objects -> the losses of proposals, classes and boxes."""
        assert self.training, "two-stage networks compute losses in training mode"
        return self.regions(images, per_image(targets))[1]

    def detect(self, images: Tensor) -> Detections:
        """Images (N, C, H, W) -> at most DETECTIONS boxes with a score above 0.05, after non-maximum suppression."""
        assert not self.training, "two-stage networks detect in evaluation mode"
        return detections_of(self.regions(images, None)[0])


def detections_of(found: list[dict[str, Tensor]]) -> Detections:
    """torchvision's detections of each image as those of a batch."""
    boxes, scores, labels = (padded([one[key] for one in found]) for key in ("boxes", "scores", "labels"))
    return Detections(boxes, scores, (labels - 1).clamp(min=0))


class FasterRCNN(TwoStage):
    """`body` with a pyramid; `v2`: version 2 (see the module docstring)."""

    def __init__(self, body: Network, classes: int, v2: bool = False) -> None:
        pyramid = region_pyramid(body, WIDTH, nn.BatchNorm2d if v2 else None)
        super().__init__(pyramid, proposals(WIDTH, PYRAMID_SIZES, depth=2 if v2 else 1, kept=1000))
        self.roi_heads = region_heads(pool_levels(7), box_head(v2), 1024, classes, sampled=512)


class MaskRCNN(FasterRCNN):
    """Faster R-CNN, with a mask for each detection."""

    def __init__(self, body: Network, classes: int, v2: bool = False) -> None:
        super().__init__(body, classes, v2)
        self.heads = (*BOX_HEADS, MASK_HEAD)
        self.roi_heads.mask_roi_pool = pool_levels(MASK_SIDE // 2)
        norm: Callable[..., nn.Module] | None = nn.BatchNorm2d if v2 else None
        self.roi_heads.mask_head = MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1, norm_layer=norm)
        self.roi_heads.mask_predictor = MaskRCNNPredictor(WIDTH, WIDTH, classes + 1)

    def losses(self, images: Tensor, targets: Objects) -> dict[str, Tensor]:
        """As Faster R-CNN's, and the loss of masks. Raises SkipwayError if `targets` have none."""
        if targets.masks is None:
            raise SkipwayError("Mask R-CNN learns from masks, and the data have boxes alone: choose another detector")
        return super().losses(images, targets)

    def detect(self, images: Tensor) -> MaskDetections:  # type: ignore[override]  # a tuple with one tensor more
        """As Faster R-CNN's, each with the mask of its class."""
        assert not self.training, "two-stage networks detect in evaluation mode"
        found = self.regions(images, None)[0]
        return MaskDetections(*detections_of(found), padded([one["masks"][:, 0] for one in found]))


class LastStage(nn.Module):
    """A stage on pooled maps, and the mean of its pixels: (R, C, H, W) -> (R, channels of the stage).

    The stage stays a part of the body, so that its weights have one name: in a tuple it is not registered again.
    """

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = (stage,)

    def forward(self, x: Tensor) -> Tensor:
        return self.stage[0](x).mean((2, 3))


class SingleMap(Backbone):
    """`body` without its last stage, which is not run but kept: the map of the stage before it, with stride 16."""

    def __init__(self, body: ResNet) -> None:
        super().__init__()
        self.body = without_classifier(body)
        body.stages, body.channels, body.strides = body.stages[:-1], body.channels[:-1], body.strides[:-1]
        self.channels, self.strides = body.channels[-1:], body.strides[-1:]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) -> one map (N, channels, H / 16, W / 16), by the name "0"."""
        return {"0": self.body.features(x)[-1]}


class FasterC4(TwoStage):
    """The detector of the residual networks' paper: conv1 to conv4 on images, conv5 on what is pooled per proposal.

    At most 300 proposals per image are evaluated and 128 learned from, as in Faster R-CNN. Pooling is RoIAlign of 14 x
    14 pixels, where the papers round to whole pixels and take maxima.
    """

    def __init__(self, body: ResNet, classes: int) -> None:
        last, features = body.get_submodule(body.stages[-1]), body.channels[-1]
        backbone = SingleMap(body)
        super().__init__(backbone, proposals(backbone.channels[0], C4_SIZES, depth=1, kept=300))
        pool = MultiScaleRoIAlign(["0"], 14, sampling_ratio=2)
        self.roi_heads = region_heads(pool, LastStage(last), features, classes, sampled=128)
