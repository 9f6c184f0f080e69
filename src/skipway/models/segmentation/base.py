"""The interface of every segmenter, so that no other package depends on a particular one."""

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.activation_checkpointing import recompute_stages
from skipway.models.base import ModelOutput, Network, classes_of, without_classifier
from skipway.models.resnet import initialise


class Segmenter(Network):
    """A classification network without its classifier, `backbone`, and what turns its maps into scores of each pixel.

    - `forward(x)`: images (N, C, H, W) of any size -> class scores float32 (N, classes, H, W); in training mode
      `ModelOutput`, with scores of the same shape, where the network has an auxiliary classifier.
    - `features(x)`, `channels` and `strides`: the maps of the backbone, finest first.
    - `heads`: the names of the convolutions that output class scores, the main one first.
    - `stages` is empty; `save_memory` recomputes the backbone's. `classify` does not apply, and raises.
    """

    def __init__(self, body: Network, heads: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = without_classifier(body)
        self.channels, self.strides, self.smallest = list(body.channels), list(body.strides), body.smallest
        self.first, self.heads, self.stages = f"backbone.{body.first}", heads, ()

    def forward(self, x: Tensor) -> Tensor | ModelOutput:
        raise NotImplementedError

    def features(self, x: Tensor) -> list[Tensor]:
        return self.backbone.features(x)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return classes_of(self)

    @property
    def body(self) -> Network:
        """The classification network, whose weights a segmenter may start from."""
        return self.backbone

    def save_memory(self) -> bool:
        """Recompute activations of the backbone in the backward pass; returns False if it does not support it."""
        return self.backbone.save_memory() or recompute_stages(self.backbone)


def resized(scores: Tensor, images: Tensor) -> Tensor:
    """Scores (N, classes, h, w) as float32 at the size of `images`, by bilinear interpolation between pixel centres.

    They are converted first: bfloat16 has eight bits, and the differences between classes would be rounded.
    """
    return F.interpolate(scores.float(), images.shape[-2:], mode="bilinear", align_corners=False)


def initialise_head(head: nn.Module, last: nn.Conv2d) -> None:
    """He initialisation of the convolutions in `head`, and N(0, 0.01) of the `last`, so that the first loss is
    ln(classes)."""
    initialise(head)
    nn.init.normal_(last.weight, std=0.01)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
