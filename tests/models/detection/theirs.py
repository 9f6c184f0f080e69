"""torchvision's detectors with a small body, and what the tests of ours ask of them; its transform is left out."""

from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from twins import shaken

from skipway.models.detection.base import Detector, Objects

CLASSES = 4
HEIGHT, WIDTH = 160, 224
LEVELS = {1: 64, 2: 128, 3: 256, 4: 512}  # channels of resnet18's stages


def backbone(first: int, extra: nn.Module | None = None, norm: type[nn.Module] | None = None) -> BackboneWithFPN:
    stages = range(first, 5)
    returned = {f"layer{stage}": str(i) for i, stage in enumerate(stages)}
    return BackboneWithFPN(
        torchvision.models.resnet18(weights=None), returned, [LEVELS[i] for i in stages], 256, extra, norm
    )


def fcos() -> nn.Module:
    return detection.FCOS(backbone(2, LastLevelP6P7(256, 256)), CLASSES)


def retinanet(v2: bool) -> nn.Module:
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    head = RetinaNetHead(256, 9, CLASSES, norm_layer=partial(nn.GroupNorm, 32) if v2 else None)
    if v2:
        head.regression_head._loss_type = "giou"
    body = backbone(2, LastLevelP6P7(512 if v2 else 256, 256))
    return detection.RetinaNet(body, CLASSES, anchor_generator=anchors, head=head)


def rcnn(masks: bool, v2: bool) -> nn.Module:
    norm = nn.BatchNorm2d if v2 else None
    build = detection.MaskRCNN if masks else detection.FasterRCNN
    parts = {}
    if v2:
        parts["rpn_head"] = RPNHead(256, 3, conv_depth=2)
        parts["box_head"] = FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=norm)
    if v2 and masks:
        parts["mask_head"] = MaskRCNNHeads(256, [256] * 4, 1, norm_layer=norm)
    return build(backbone(1, norm=norm), CLASSES + 1, **parts)


THEIRS = {
    "fcos_resnet18": fcos,
    "retinanet_resnet18": partial(retinanet, False),
    "retinanet_resnet18_v2": partial(retinanet, True),
    "fasterrcnn_resnet18": partial(rcnn, False, False),
    "fasterrcnn_resnet18_v2": partial(rcnn, False, True),
    "maskrcnn_resnet18": partial(rcnn, True, False),
    "maskrcnn_resnet18_v2": partial(rcnn, True, True),
}


def build(name: str) -> nn.Module:
    """torchvision's detector with numbers of its own everywhere, in evaluation mode."""
    torch.manual_seed(1)
    their = shaken(THEIRS[name]()).eval()
    if name.startswith("retinanet"):
        soften(their)
    return their


def soften(their: nn.Module) -> None:
    """Scale the last layers, so that no scores round to 1 and no boxes leave the image: ties have no order."""
    with torch.no_grad():
        outputs = their.head(list(their.backbone(images()).values()))
        their.head.classification_head.cls_logits.weight /= outputs["cls_logits"].std()
        their.head.regression_head.bbox_reg.weight /= 2 * outputs["bbox_regression"].std()


def images(number: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(2))


def listed(batch: Tensor) -> ImageList:
    return ImageList(batch, [tuple(batch.shape[-2:])] * len(batch))


def objects(counts: tuple[int, ...], seed: int = 3, masks: bool = False) -> Objects:
    """Random objects, `counts` of each image, with padding in between where an image has fewer than the most."""
    draw = torch.Generator().manual_seed(seed)
    most = max(*counts, 1)
    corners = torch.rand(len(counts), most, 2, generator=draw) * torch.tensor([WIDTH - 20.0, HEIGHT - 20.0])
    sides = 6 + torch.rand(len(counts), most, 2, generator=draw) ** 2 * torch.tensor([WIDTH - 26.0, HEIGHT - 26.0])
    boxes = torch.cat([corners, torch.minimum(corners + sides, torch.tensor([WIDTH, HEIGHT]).float())], -1)
    labels = torch.randint(CLASSES, (len(counts), most), generator=draw)
    for row, count in zip(labels, counts, strict=True):
        row[torch.randperm(most, generator=draw)[count:]] = -1
    pictures = torch.randint(2, (len(counts), most, HEIGHT, WIDTH), generator=draw, dtype=torch.uint8)
    return Objects(boxes, labels, pictures if masks else None)


def as_theirs(targets: Objects, shift: int = 0) -> list[dict[str, Tensor]]:
    """The objects of each image as torchvision takes them; `shift` is 1 where class 0 is the background."""
    keys = {"boxes": targets.boxes, "labels": targets.labels + shift, "masks": targets.masks}
    return [
        {key: value[i][targets.labels[i] >= 0] for key, value in keys.items() if value is not None}
        for i in range(len(targets.labels))
    ]


def with_distinct_scores(net: Detector, x: Tensor) -> Detector:
    """Our `net` with its scores' layer scaled, so that no score rounds to 1: equal ones have no order."""
    with torch.no_grad():
        net.get_submodule(net.heads[0]).weight /= net.head(net.features(x)).logits.std()
    return net
