"""Registry of pretrained weights: their URLs, checksums, preprocessing, accuracy and licences.

A name consists of a network and a tag: `resnet50.tv_v2` (torchvision's), `resnet50.a1_in1k` (timm's, on the hub),
`resnet20.akamaster` (a CIFAR-10 network of github.com/akamaster/pytorch_resnet_cifar10), `resnet18d_x0_5.embedded` (in
the package), `fcos_resnet50.coco_v1` (torchvision's detector), `fcn_resnet50.coco_voc_v1` (its segmenter).
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torchvision

from skipway.models.pretrained import embedded
from skipway.models.pretrained.timm import TABLE

EPSILON = 1e-5  # of batch normalisation in PyTorch


@dataclass(frozen=True)
class Weights:
    """Published weights.

    url: `https://...`, `hf:owner/repository/file` on the hub, or "" for weights in the package; checksum: "sha256:" and
    at least the leading digits, "" if the hub provides the checksum; resize, size: the shorter side, and the crop's
    side, in pixels; mean, std: per channel, for values in [0, 1]; top1, top5: accuracy in percent, None if not
    published; measured: the test data and the source; megabytes: of 2^20 bytes, None if not published.

    Of detectors, resize and size are the shorter and the longest side of images, top1 and top5 are None, and box_ap and
    mask_ap are COCO's average precision in percent; epsilon: what the network's batch normalisation added to variances.
    Of segmenters, both are the shorter side, and miou and pixel_accuracy are in percent.
    """

    name: str
    net: str
    source: str
    url: str
    checksum: str
    classes: tuple[str, ...] = field(repr=False)
    size: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: float | None
    top5: float | None
    measured: str
    licence: str
    data: str
    megabytes: float | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    miou: float | None = None
    pixel_accuracy: float | None = None
    epsilon: float = EPSILON

    def terms(self) -> str:
        """Licence and training data, as text."""
        remark = f" ({TERMS[self.data]})" if self.data in TERMS else ""
        return f"{self.licence}, trained on {self.data}{remark}"


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
TINY_IMAGENET = "Tiny ImageNet"
COCO = "COCO train2017"
TERMS = {
    COCO: "annotations CC BY 4.0; the images have the terms of Flickr",
    "ImageNet-1k": "non-commercial research terms may apply to the data",
    TINY_IMAGENET: "ImageNet's terms: non-commercial research",
}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# ---------------------------------------------------------------------------------------------------------------------
# torchvision, read from the installed package

TAGS = {"IMAGENET1K_V1": "tv_v1", "IMAGENET1K_V2": "tv_v2"}
FAMILIES = ("alexnet", "vgg", "googlenet", "resnet", "resnext", "wide_resnet", "densenet")


def from_torchvision() -> list[Weights]:
    """The ImageNet weights that torchvision has for networks of FAMILIES."""
    return [
        from_torchvision_enum(net, TAGS[weights.name], weights)
        for net in torchvision.models.list_models(module=torchvision.models)
        if net.startswith(FAMILIES)
        for weights in torchvision.models.get_model_weights(net)
        if weights.name in TAGS
    ]


def from_torchvision_enum(net: str, tag: str, weights: Any) -> Weights:
    """A member of one of torchvision's enumerations as a record."""
    transforms, metrics = weights.transforms(), weights.meta["_metrics"]["ImageNet-1K"]
    size, resize = transforms.crop_size[0], transforms.resize_size[0]
    # GoogLeNet's weights are from TensorFlow, with inputs in [-1, 1]; torchvision's network converts internally.
    mean, std = (HALF, HALF) if net == "googlenet" else (tuple(transforms.mean), tuple(transforms.std))
    return Weights(
        name=f"{net}.{tag}",
        net=net,
        source="torchvision",
        url=weights.url,
        checksum="sha256:" + weights.url.rsplit("-", 1)[1].removesuffix(".pth"),
        classes=imagenet_classes(),
        size=size,
        resize=resize,
        interpolation=transforms.interpolation.value,
        mean=mean,
        std=std,
        top1=metrics["acc@1"],
        top5=metrics["acc@5"],
        measured=f"ImageNet val, {size} of {resize} pixels; torchvision {torchvision.__version__.split('+')[0]}",
        licence="BSD-3-Clause",
        data="ImageNet-1k",
        megabytes=weights.meta["_file_size"],
    )


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k, in the order of every set of weights for it."""
    return tuple(torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


# ---------------------------------------------------------------------------------------------------------------------
# timm, from the table in timm.py


def from_timm() -> list[Weights]:
    return [from_timm_row(*row.split()) for row in TABLE.strip().splitlines()]


def from_timm_row(
    name: str, side: str, crop: str, interpolation: str, norm: str, top1: str, top5: str, licence: str
) -> Weights:
    """A row of timm's table as a record."""
    net, tag = name.split(".")
    size = int(side)
    resize = int(size / float(crop))  # rounded down, as timm does
    theirs = net.replace("preresnet", "resnetv2_")
    return Weights(
        name=name,
        net=net,
        source="timm",
        url=f"hf:timm/{theirs}.{tag}/model.safetensors",
        checksum="",
        classes=imagenet_classes(),
        size=size,
        resize=resize,
        interpolation=interpolation,
        mean=HALF if norm == "half" else IMAGENET_MEAN,
        std=HALF if norm == "half" else IMAGENET_STD,
        top1=float(top1),
        top5=None if top5 == "-" else float(top5),
        measured=f"ImageNet val, {size} of {resize} pixels; timm, results-imagenet.csv",
        licence=licence,
        data="ImageNet-1k",
    )


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR-10

AKAMASTER = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
# Leading digits of the checksum, and the test error in percent from the repository's README
CIFAR_NETS = {
    "resnet20": ("12fca82f", 8.27),
    "resnet32": ("d509ac18", 7.37),
    "resnet44": ("014dd654", 6.90),
    "resnet56": ("4bfd9763", 6.61),
    "resnet110": ("1d1ed7c2", 6.32),
    "resnet1202": ("f3b1deed", 6.18),
}


def from_akamaster() -> list[Weights]:
    return [
        Weights(
            name=f"{net}.akamaster",
            net=net,
            source="akamaster",
            url=f"{AKAMASTER}/{net}-{digits}.th",
            checksum=f"sha256:{digits}",
            classes=CIFAR10,
            size=32,
            resize=32,
            interpolation="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            top1=round(100 - error, 2),
            top5=None,
            measured="CIFAR-10 test; the repository's README",
            licence="BSD-2-Clause",
            data="cifar10",
        )
        for net, (digits, error) in CIFAR_NETS.items()
    ]


# ---------------------------------------------------------------------------------------------------------------------
# In the package


def from_package() -> list[Weights]:
    """The embedded weights as described by their card; empty in an installation without them."""
    card = embedded.card()
    if card is None:
        return []
    preprocessing, metrics = card["preprocessing"], card["metrics"]
    return [
        Weights(
            name=card["name"],
            net=card["network"]["name"],
            source="skipway",
            url="",
            checksum=f"sha256:{card['weights_sha256']}",
            classes=tuple(card["classes"]),
            size=preprocessing["size"],
            resize=preprocessing["resize"],
            interpolation=preprocessing["filter"],
            mean=tuple(preprocessing["mean"]),
            std=tuple(preprocessing["std"]),
            top1=round(100 * metrics["top1"], 2),
            top5=round(100 * metrics["top5"], 2) if "top5" in metrics else None,
            measured=f"{metrics['n']:,} images of {metrics['split']}; this package",
            licence=card["licence"],
            data=card["data"]["name"],
            megabytes=round(embedded.file().stat().st_size / 2**20, 1),
        )
    ]


WEIGHTS: dict[str, Weights] = {
    w.name: w for w in (*from_torchvision(), *from_timm(), *from_akamaster(), *from_package())
}


# ---------------------------------------------------------------------------------------------------------------------
# torchvision's detectors, read from the installed package


def from_torchvision_detection() -> list[Weights]:
    """The COCO weights that torchvision has for detectors with a ResNet-50."""
    return [
        coco_record(theirs.replace("_fpn", ""), weights)
        for theirs in torchvision.models.list_models(module=torchvision.models.detection)
        if theirs.startswith(("fcos_resnet50", "retinanet_resnet50", "fasterrcnn_resnet50", "maskrcnn_resnet50"))
        for weights in torchvision.models.get_model_weights(theirs)
        if weights.name == "COCO_V1"
    ]


def coco_record(net: str, weights: Any) -> Weights:
    """A member of one of torchvision's enumerations of detectors as a record."""
    metrics, two_stage = weights.meta["_metrics"]["COCO-val2017"], "rcnn" in net
    categories = tuple(weights.meta["categories"])
    return Weights(
        name=f"{net}.coco_v1",
        net=net,
        source="torchvision",
        url=weights.url,
        checksum="sha256:" + weights.url.rsplit("-", 1)[1].removesuffix(".pth"),
        classes=categories[1:] if two_stage else categories,  # the first is the background, which only these score
        size=1333,
        resize=800,
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        top1=None,
        top5=None,
        measured=f"COCO val2017, box AP; torchvision {torchvision.__version__.split('+')[0]}",
        licence="BSD-3-Clause",
        data=COCO,
        megabytes=weights.meta["_file_size"],
        box_ap=metrics["box_map"],
        mask_ap=metrics.get("mask_map"),
        # these were trained when torchvision's frozen normalisation added nothing, and it loads them so
        epsilon=EPSILON if net.startswith("fcos") or net.endswith("_v2") else 0.0,
    )


COCO_WEIGHTS: dict[str, Weights] = {w.name: w for w in from_torchvision_detection()}

# ---------------------------------------------------------------------------------------------------------------------
# torchvision's segmenters, read from the installed package


def from_torchvision_segmentation() -> list[Weights]:
    """The weights for the images of COCO with the classes of Pascal VOC that torchvision has for residual networks."""
    return [
        coco_voc_record(net, weights)
        for net in torchvision.models.list_models(module=torchvision.models.segmentation)
        if net.startswith(("fcn_resnet", "deeplabv3_resnet"))
        for weights in torchvision.models.get_model_weights(net)
        if weights.name == "COCO_WITH_VOC_LABELS_V1"
    ]


def coco_voc_record(net: str, weights: Any) -> Weights:
    """A member of one of torchvision's enumerations of segmenters as a record."""
    transforms, metrics = weights.transforms(), weights.meta["_metrics"]["COCO-val2017-VOC-labels"]
    return Weights(
        name=f"{net}.coco_voc_v1",
        net=net,
        source="torchvision",
        url=weights.url,
        checksum="sha256:" + weights.url.rsplit("-", 1)[1].removesuffix(".pth"),
        classes=tuple(weights.meta["categories"]),
        size=transforms.resize_size[0],
        resize=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        top1=None,
        top5=None,
        measured=f"COCO val2017 with VOC's 20 classes, mIoU; torchvision {torchvision.__version__.split('+')[0]}",
        licence="BSD-3-Clause",
        data=COCO,
        megabytes=weights.meta["_file_size"],
        miou=metrics["miou"],
        pixel_accuracy=metrics["pixel_acc"],
    )


COCO_VOC_WEIGHTS: dict[str, Weights] = {w.name: w for w in from_torchvision_segmentation()}


def all_weights() -> dict[str, Weights]:
    """The registered weights by name: of classifiers, detectors and segmenters."""
    return WEIGHTS | COCO_WEIGHTS | COCO_VOC_WEIGHTS


def by_digest(sha256: str) -> Weights | None:
    """The registered weights whose file has this SHA-256; None if there are none."""
    matches = (w for w in all_weights().values() if w.checksum and f"sha256:{sha256}".startswith(w.checksum))
    return next(matches, None)
