"""Every detector by name: `create_detector(name, ...)` builds one, `list_detectors(pattern)` lists them.

A name says the kind of detector and its body, a classification network: `fcos_resnet18_light`. The kinds are imported
when one is built: torchvision, which they need, takes as long to import as torch.
"""

from collections.abc import Callable

from skipway.errors import SkipwayError, UnknownNameError, matching
from skipway.models import networks
from skipway.models.base import Network
from skipway.models.detection.base import Detector
from skipway.models.resnet import ResNet

# ---------------------------------------------------------------------------------------------------------------------
# Kinds: from a body and the number of classes


def fcos(body: Network, classes: int) -> Detector:
    from skipway.models.detection.fcos import FCOS

    return FCOS(body, classes)


def fcos_light(body: Network, classes: int) -> Detector:
    """A third of the multiply-adds of `fcos` with a small body: half the channels and half the depth of the towers."""
    from skipway.models.detection.fcos import FCOS

    return FCOS(body, classes, width=128, depth=2)


def retinanet(body: Network, classes: int) -> Detector:
    from skipway.models.detection.retinanet import RetinaNet

    return RetinaNet(body, classes)


def retinanet_v2(body: Network, classes: int) -> Detector:
    from skipway.models.detection.retinanet import RetinaNet

    return RetinaNet(body, classes, v2=True)


def fasterrcnn(body: Network, classes: int) -> Detector:
    from skipway.models.detection.rcnn import FasterRCNN

    return FasterRCNN(body, classes)


def fasterrcnn_v2(body: Network, classes: int) -> Detector:
    from skipway.models.detection.rcnn import FasterRCNN

    return FasterRCNN(body, classes, v2=True)


def fasterrcnn_c4(body: Network, classes: int) -> Detector:
    from skipway.models.detection.rcnn import FasterC4

    assert isinstance(body, ResNet)
    return FasterC4(body, classes)


def maskrcnn(body: Network, classes: int) -> Detector:
    from skipway.models.detection.rcnn import MaskRCNN

    return MaskRCNN(body, classes)


def maskrcnn_v2(body: Network, classes: int) -> Detector:
    from skipway.models.detection.rcnn import MaskRCNN

    return MaskRCNN(body, classes, v2=True)


# ---------------------------------------------------------------------------------------------------------------------
# Table

Kind = Callable[[Network, int], Detector]
KINDS: dict[str, Kind] = {  # {} is the body
    "fcos_{}": fcos,
    "fcos_{}_light": fcos_light,
    "retinanet_{}": retinanet,
    "retinanet_{}_v2": retinanet_v2,
    "fasterrcnn_{}": fasterrcnn,
    "fasterrcnn_{}_v2": fasterrcnn_v2,
    "maskrcnn_{}": maskrcnn,
    "maskrcnn_{}_v2": maskrcnn_v2,
}
BODIES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2", "resnet18d_x0_5")


def detector(kind: Kind, body: str) -> Callable[..., Detector]:
    """A `kind` of detector on the network called `body`."""

    def build(classes: int, channels: int = 3) -> Detector:
        return kind(networks.create(body, channels=channels), classes)

    return build


DETECTORS: dict[str, Callable[..., Detector]] = {
    **{name.format(body): detector(kind, body) for name, kind in KINDS.items() for body in BODIES},
    "fasterrcnn_resnet101_c4": detector(fasterrcnn_c4, "resnet101"),
}
BODY_OF: dict[str, str] = {  # the network whose weights fit a detector's body
    **{name.format(body): body for name in KINDS for body in BODIES},
    "fasterrcnn_resnet101_c4": "resnet101",
}


def nms_threshold(name: str) -> float:
    """The overlap (IoU) from which of two boxes of a class only the better is kept: 0.6 for FCOS, otherwise 0.5."""
    return 0.6 if name.startswith("fcos_") else 0.5


def has_masks(name: str) -> bool:
    """Whether the detector called `name` gives a mask for each box."""
    return name.startswith("maskrcnn_")


def suppresses(name: str) -> bool:
    """Whether non-maximum suppression is a part of the detector called `name`, as of all with two stages."""
    return name.startswith(("fasterrcnn_", "maskrcnn_"))


def require_detector(name: str) -> None:
    """Raises UnknownNameError, with the closest name, if there is no such detector."""
    if not is_detector(name):
        raise UnknownNameError("detector", name, DETECTORS, f"for example {next(iter(DETECTORS))}")


def list_detectors(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern` or contain it, by kind."""
    return matching(DETECTORS, pattern)


def is_detector(name: str) -> bool:
    """Whether a detector called `name` exists."""
    return name in DETECTORS


def create_detector(name: str, classes: int, channels: int = 3) -> Detector:
    """The detector called `name`, initialised using the global random state, for images of `channels` channels.

    Raises UnknownNameError, with the closest name, and SkipwayError for a number out of range.
    """
    require_detector(name)
    if classes < 1:
        raise SkipwayError(f"{name} with {classes} classes: at least 1 is needed")
    if channels < 1:
        raise SkipwayError(f"{name} with {channels} input channels: at least 1 is needed")
    return DETECTORS[name](classes, channels)
