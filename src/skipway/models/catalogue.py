"""Weights by name: where they are, how they are checked, how they are fed, what they reached, on what terms.

A name is a network's and a tag's: `resnet50.tv_v2` (torchvision's), `resnet50.a1_in1k` (timm's, on the hub),
`resnet20.akamaster` (a CIFAR-10 net of github.com/akamaster/pytorch_resnet_cifar10), `resnet18d_x0_5.embedded` (in the
package).
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torchvision

from skipway.models import embedded_weights
from skipway.models.timm_table import TABLE


@dataclass(frozen=True)
class Weights:
    """Weights that somebody published.

    url: `https://...`, `hf:owner/repository/file` on the hub, or "" for what is in the package; checksum: "sha256:" and
    at least the leading digits, "" where the hub itself names the checksum; resize, size: the shorter side, and the
    crop's side, in pixels; mean, std: per channel, for values in [0, 1]; top1, top5: in percent, None where not
    published; measured: on what, and who says so; megabytes: of 2^20 bytes, None where not published.
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

    def terms(self) -> str:
        """Licence and data, in words."""
        remark = f" ({TERMS[self.data]})" if self.data in TERMS else ""
        return f"{self.licence}, trained on {self.data}{remark}"


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
TINY_IMAGENET = "Tiny ImageNet"
TERMS = {
    "ImageNet-1k": "non-commercial research terms may apply to the data",
    TINY_IMAGENET: "ImageNet's terms: non-commercial research",
}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# ---------------------------------------------------------------------------------------------------------------------
# torchvision, read from the package that is installed

TAGS = {"IMAGENET1K_V1": "tv_v1", "IMAGENET1K_V2": "tv_v2"}
FAMILIES = ("alexnet", "vgg", "googlenet", "resnet", "resnext", "wide_resnet", "densenet")


def from_torchvision() -> list[Weights]:
    """The ImageNet weights that torchvision has for networks of FAMILIES."""
    return [
        described(net, TAGS[weights.name], weights)
        for net in torchvision.models.list_models(module=torchvision.models)
        if net.startswith(FAMILIES)
        for weights in torchvision.models.get_model_weights(net)
        if weights.name in TAGS
    ]


def described(net: str, tag: str, weights: Any) -> Weights:
    """A member of one of torchvision's enumerations as a record."""
    feeding, judged = weights.transforms(), weights.meta["_metrics"]["ImageNet-1K"]
    size, resize = feeding.crop_size[0], feeding.resize_size[0]
    # GoogLeNet's weights came from TensorFlow, which maps pixels to -1 to 1; torchvision's network converts inside.
    mean, std = (HALF, HALF) if net == "googlenet" else (tuple(feeding.mean), tuple(feeding.std))
    return Weights(
        name=f"{net}.{tag}",
        net=net,
        source="torchvision",
        url=weights.url,
        checksum="sha256:" + weights.url.rsplit("-", 1)[1].removesuffix(".pth"),
        classes=imagenet_classes(),
        size=size,
        resize=resize,
        interpolation=feeding.interpolation.value,
        mean=mean,
        std=std,
        top1=judged["acc@1"],
        top5=judged["acc@5"],
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
# timm, from its table


def from_timm() -> list[Weights]:
    return [row_described(*row.split()) for row in TABLE.strip().splitlines()]


def row_described(
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
# Checksum's beginning, and the test error in percent that the repository's README gives
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
    """The embedded weights as their card describes them; nothing in an installation that comes without them."""
    card = embedded_weights.card()
    if card is None:
        return []
    fed, judged = card["preprocessing"], card["metrics"]
    return [
        Weights(
            name=card["name"],
            net=card["network"]["name"],
            source="skipway",
            url="",
            checksum=f"sha256:{card['weights_sha256']}",
            classes=tuple(card["classes"]),
            size=fed["size"],
            resize=fed["resize"],
            interpolation=fed["filter"],
            mean=tuple(fed["mean"]),
            std=tuple(fed["std"]),
            top1=round(100 * judged["top1"], 2),
            top5=round(100 * judged["top5"], 2) if "top5" in judged else None,
            measured=f"{judged['n']:,} images of {judged['split']}; this package",
            licence=card["licence"],
            data=card["data"]["name"],
            megabytes=round(embedded_weights.file().stat().st_size / 2**20, 1),
        )
    ]


WEIGHTS: dict[str, Weights] = {
    w.name: w for w in (*from_torchvision(), *from_timm(), *from_akamaster(), *from_package())
}


def by_digest(sha256: str) -> Weights | None:
    """The named weights whose file has this SHA-256; None when no name is known for it."""
    known = (w for w in WEIGHTS.values() if w.checksum and f"sha256:{sha256}".startswith(w.checksum))
    return next(known, None)
