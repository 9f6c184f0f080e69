"""VGG for small images at a quarter of its widths. Each 3x3 convolution is a unit that can be removed."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network, require_images
from skipway.models.resnet import conv3x3, initialise


class Layer(nn.Module):
    """A 3x3 convolution, batch normalisation and ReLU. (N, c_in, H, W) -> (N, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv, self.bn = conv3x3(c_in, c_out), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class SmallVGG(Network):
    """Stages of layers, 2x2 pooling between them, global average pooling and a linear classifier."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int], classes: int, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides = list(widths), [2**i for i in range(len(widths))]
        self.smallest, self.first, self.heads = self.strides[-1], "layer1.0.conv", ("fc",)
        self.stages = tuple(f"layer{i + 1}" for i in range(len(widths)))
        c_in = in_channels
        for stage, width, depth in zip(self.stages, widths, depths, strict=True):
            self.add_module(stage, nn.Sequential(*(Layer(c_in if i == 0 else width, width) for i in range(depth))))
            c_in = width
        self.fc = nn.Linear(c_in, classes)
        initialise(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i])."""
        require_images(self, x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = self.get_submodule(stage)(F.max_pool2d(x, 2) if maps else x)
            maps.append(x)
        return maps

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


def vgg14(classes: int = 10, channels: int = 3) -> SmallVGG:
    """13 convolutions in four stages, like those of VGG-16 without the last pooling, and one linear layer."""
    return SmallVGG((16, 32, 64, 128), (2, 2, 3, 6), classes, channels)
