"""Every segmenter by name: `create_segmenter(name, ...)` builds one, `list_segmenters(pattern)` lists them.

A name says the kind of segmenter and its body, a classification network: `unet_resnet18_light`.
"""

from collections.abc import Callable

from skipway.errors import SkipwayError, UnknownNameError, matching
from skipway.models import networks
from skipway.models.base import Network
from skipway.models.resnet import ResNet
from skipway.models.segmentation.base import Segmenter
from skipway.models.segmentation.deeplabv3 import deeplabv3
from skipway.models.segmentation.fcn import fcn
from skipway.models.segmentation.unet import UNet

MOST_CLASSES = 255  # of label maps in bytes, in which 255 marks pixels to ignore

# ---------------------------------------------------------------------------------------------------------------------
# Kinds: from a body and the number of classes


def unet(body: Network, classes: int) -> Segmenter:
    assert isinstance(body, ResNet)
    return UNet(body, classes)


def unet_light(body: Network, classes: int) -> Segmenter:
    """Three fifths of the multiply-adds of `unet` with a small body: half the channels, and scores at stride 2.

    At stride 4 it would be a tenth faster, and lose thin objects: of the labels of CamVid's column poles, averaged and
    interpolated, 60 % overlap with themselves, and 91 % at stride 2 (IoU).
    """
    assert isinstance(body, ResNet)
    return UNet(body, classes, widths=(128, 64, 32, 16))


# ---------------------------------------------------------------------------------------------------------------------
# Table

Kind = Callable[[Network, int], Segmenter]
KINDS: dict[str, Kind] = {  # {} is the body
    "unet_{}": unet,
    "unet_{}_light": unet_light,
    "fcn_{}": fcn,
    "deeplabv3_{}": deeplabv3,
}
BODIES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2", "resnet18d_x0_5")


def segmenter(kind: Kind, body: str) -> Callable[[int, int], Segmenter]:
    """A `kind` of segmenter on the network called `body`."""

    def build(classes: int, channels: int) -> Segmenter:
        return kind(networks.create(body, channels=channels), classes)

    return build


SEGMENTERS: dict[str, Callable[[int, int], Segmenter]] = {
    name.format(body): segmenter(kind, body) for name, kind in KINDS.items() for body in BODIES
}
BODY: dict[str, str] = {name.format(body): body for name in KINDS for body in BODIES}  # whose weights fit a segmenter's


def require_segmenter(name: str) -> None:
    """Raises UnknownNameError, with the closest name, if there is no such segmenter."""
    if not is_segmenter(name):
        raise UnknownNameError("segmenter", name, SEGMENTERS, f"for example {next(iter(SEGMENTERS))}")


def list_segmenters(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern` or contain it, by kind."""
    return matching(SEGMENTERS, pattern)


def is_segmenter(name: str) -> bool:
    """Whether a segmenter called `name` exists."""
    return name in SEGMENTERS


def create_segmenter(name: str, classes: int, channels: int = 3) -> Segmenter:
    """The segmenter called `name`, initialised using the global random state, for images of `channels` channels.

    Raises UnknownNameError, with the closest name, and SkipwayError for a number out of range.
    """
    require_segmenter(name)
    if not 1 <= classes <= MOST_CLASSES:
        raise SkipwayError(f"{name} with {classes} classes: between 1 and {MOST_CLASSES} are possible")
    if channels < 1:
        raise SkipwayError(f"{name} with {channels} input channels: at least 1 is needed")
    return SEGMENTERS[name](classes, channels)
