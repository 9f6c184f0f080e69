"""U-Net: a decoder that doubles the size of the maps and joins them with those of the backbone, down to each pixel.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI 2015,
arXiv:1505.04597.

Differences from the paper:
- The contracting path is a residual network, with the map of its stem as the finest skip connection.
- Maps are enlarged by repeating pixels, to the size of the skip connection, so that no side need be divisible by 32;
  the paper learns this, and crops.
- Convolutions are padded, and followed by batch normalisation.
- The decoder has 256 to 16 channels; the paper's has 512 to 64.
- The scores are a 3x3 convolution; the paper's is 1x1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.activation_checkpointing import CheckpointedStage
from skipway.models.resnet import ResNet, conv3x3
from skipway.models.segmentation.base import Segmenter, initialise_head, resized

WIDTHS = (256, 128, 64, 32, 16)  # channels of the decoder at strides 16, 8, 4, 2 and 1


def convolution(c_in: int, c_out: int) -> nn.Sequential:
    """3x3, with batch normalisation and a rectifier. (N, c_in, H, W) -> (N, c_out, H, W)."""
    return nn.Sequential(conv3x3(c_in, c_out), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size): every pixel four times, without the last row or column if the size is odd."""
    return F.interpolate(x, size, mode="nearest")


class UNet(Segmenter):
    """`body` and a decoder of a block for each of `widths`, its channels, the first at half the stride of the last map.

    The scores of a decoder that ends before stride 1 are interpolated bilinearly. `features`, `channels` and `strides`
    include the map of the stem.
    """

    def __init__(self, body: ResNet, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__(body, ("classifier",))
        self.channels = [body.bn1.num_features, *body.channels]
        self.strides = [body.strides[0] // 2, *body.strides]
        skips = [*self.channels[-2::-1], 0][: len(widths)]  # at stride 1 there is none
        inputs = [self.channels[-1], *widths]
        self.decoder = nn.ModuleList(
            nn.Sequential(convolution(c_in + skip, width), convolution(width, width))
            for c_in, skip, width in zip(inputs, skips, widths, strict=False)
        )
        self.classifier = nn.Conv2d(widths[-1], classes, 3, padding=1)
        initialise_head(self.decoder, self.classifier)

    def features(self, x: Tensor) -> list[Tensor]:
        assert isinstance(self.backbone, ResNet)
        stem = self.backbone.stem(x)
        return [stem, *self.backbone.stage_maps(stem)]

    def forward(self, x: Tensor) -> Tensor:
        *skips, y = self.features(x)
        for block in self.decoder:
            if skips:
                skip = skips.pop()
                y = block(torch.cat([enlarged(y, skip.shape[-2:]), skip], 1))
            else:
                y = block(enlarged(y, x.shape[-2:]))
        return resized(self.classifier(y), x)

    def save_memory(self) -> bool:
        """Recompute the activations of the decoder's blocks too."""
        for i, block in enumerate(self.decoder):
            self.decoder[i] = CheckpointedStage(*block.children())
        return super().save_memory()
