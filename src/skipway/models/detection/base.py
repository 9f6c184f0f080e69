"""The interface of every detector, so that no other package depends on a particular one."""

from typing import NamedTuple

from torch import Tensor, fx, nn

from skipway.errors import SkipwayError
from skipway.models.activation_checkpointing import recompute_stages
from skipway.models.base import Network


class Objects(NamedTuple):
    """The objects in a batch of N images, padded to the same number M.

    boxes: float32 (N, M, 4), left, top, right and bottom in input pixels, of positive width and height; labels: int64
    (N, M), classes from 0, and -1 where there is no box; masks: uint8 (N, M, H, W) on the input's canvas, or None.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None


class Detections(NamedTuple):
    """K candidates per image, the best first; K depends only on the network and the size of the images.

    boxes: (N, K, 4), left, top, right and bottom in input pixels, within the image; scores: (N, K), 0 for padding;
    labels: int64 (N, K), classes from 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class MaskDetections(NamedTuple):
    """As `Detections`, with `masks` (N, K, 28, 28): for each pixel of a box, the probability that it is the object."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


class Backbone(nn.Module):
    """The interface of a detector's backbone: `body`, a network without its classifier, and what follows it.

    `forward(x)`: images (N, C, H, W) -> maps by name, finest first; `channels` and `strides` (input pixels per map
    pixel) describe them.
    """

    body: Network
    channels: list[int]
    strides: list[int]


class Detector(Network):
    """A backbone and what finds objects in its maps: `head`, or `rpn` and `roi_heads`. State-dict names: torchvision's.

    - `forward(images)`: images (N, C, H, W) -> `Detections` or `MaskDetections`, before non-maximum suppression where
      the head predicts at every place, and after it in two-stage networks; in training and evaluation mode alike,
      except for two-stage networks, which must be in evaluation mode.
    - `forward(images, targets)`: the losses by name, for training, each a mean that may be summed with the others.
    - `features(x)`, `channels` and `strides`: the maps of the backbone, finest first.
    - `heads`: the names of the layers whose shape depends on the number of classes, that of the scores first.
    - `count_classes(outputs)`: the number of classes of a network whose first of `heads` has so many outputs.
    - `nms_threshold`: the IoU above which the worse of two boxes of a class is suppressed.
    - `stages` is empty; `save_memory` recomputes the body's. `classify` does not apply, and raises.
    """

    nms_threshold: float

    def __init__(self, backbone: Backbone, heads: tuple[str, ...], nms_threshold: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels, self.strides = backbone.channels, backbone.strides
        self.smallest, self.first = backbone.body.smallest, f"backbone.body.{backbone.body.first}"
        self.heads, self.stages, self.nms_threshold = heads, (), nms_threshold

    def forward(
        self, images: Tensor, targets: Objects | None = None
    ) -> dict[str, Tensor] | Detections | MaskDetections:
        return self.detect(images) if targets is None else self.losses(images, targets)

    def detect(self, images: Tensor) -> Detections | MaskDetections:
        raise NotImplementedError

    def losses(self, images: Tensor, targets: Objects) -> dict[str, Tensor]:
        raise NotImplementedError

    def count_classes(self, outputs: int) -> int:
        raise NotImplementedError

    def features(self, x: Tensor) -> list[Tensor]:
        return list(self.backbone(x).values())

    @property
    def classes(self) -> int:
        """The number of classes."""
        bias = self.get_submodule(self.heads[0]).bias
        assert isinstance(bias, Tensor)
        return self.count_classes(len(bias))

    @property
    def body(self) -> Network:
        """The classification network, whose weights a detector may start from."""
        return self.backbone.body

    def save_memory(self) -> bool:
        """Recompute the body's activations in the backward pass; returns False if it does not support it."""
        return self.body.save_memory() or recompute_stages(self.body)

    def __prepare_scriptable__(self) -> fx.GraphModule:
        raise SkipwayError("torch.jit.script does not compile detectors: use torch.jit.trace, with an image")
