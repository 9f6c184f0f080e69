"""Detectors and segmenters, which are built on a classification network, their body."""

from skipway.models.base import Network
from skipway.models.detection import registry as detection
from skipway.models.segmentation import registry as segmentation

BODY_OF: dict[str, str] = detection.BODY_OF | segmentation.BODY  # the network whose weights fit the body


def is_dense(name: str) -> bool:
    """Whether a detector or segmenter called `name` exists."""
    return name in BODY_OF


def create_dense(name: str, classes: int, channels: int = 3) -> Network:
    """The detector or segmenter called `name`; as `create_detector` and `create_segmenter`."""
    if segmentation.is_segmenter(name):
        return segmentation.create_segmenter(name, classes, channels)
    return detection.create_detector(name, classes, channels)
