"""Wide residual networks: fewer layers, each with several times the channels.

Zagoruyko, Komodakis: Wide Residual Networks. BMVC 2016, arXiv:1605.07146.

Differences from the paper:
- The classifier is initialised from N(0, 0.01) as in resnet.py; the paper does not specify it.
- The networks have no dropout, which the paper reports separately; `Wide` takes it as `between`.

State-dict names: `wide_resnet50_2` and `101_2` have torchvision's. The others have no standard names; they have those
of resnet.py.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network, require_images
from skipway.models.resnet import (
    STEMS,
    Bottleneck,
    Refine,
    Stem,
    conv1x1,
    conv3x3,
    imagenet,
    initialise,
    nothing,
)

# ---------------------------------------------------------------------------------------------------------------------
# Parts

wide_bottleneck = partial(Bottleneck, inner=lambda width: 2 * width)


class Wide(nn.Module):
    """Two 3x3 convolutions, each after its normalisation and rectifier.

    (N, c_in, H, W) -> (N, width, H / stride, W / stride).

    Where the shape changes, a 1x1 convolution of the normalised, rectified input is the shortcut. `between` builds the
    module between the convolutions, given its channels (sec. 2.4: dropout). `drop` is replaced for stochastic depth.
    """

    def __init__(self, c_in: int, width: int, stride: int, between: Refine = nothing) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c_in), conv3x3(c_in, width, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv3x3(width, width)
        self.between = between(width)
        self.drop: nn.Module = nn.Identity()
        self.same = stride == 1 and c_in == width
        self.downsample = nn.Identity() if self.same else conv1x1(c_in, width, stride)

    def activated(self, x: Tensor) -> Tensor:
        """The normalised, rectified input of the convolutions and of a learned shortcut."""
        return F.relu(self.bn1(x), inplace=True)

    def convolved(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn2(self.conv1(x)), inplace=True)
        return self.drop(self.conv2(self.between(x)))

    def skip(self, x: Tensor) -> Tensor:
        return x if self.same else self.downsample(self.activated(x))

    def branch(self, x: Tensor) -> Tensor:
        return self.convolved(self.activated(x))

    def forward(self, x: Tensor) -> Tensor:
        # `branch` and `skip` in one, so that the shared normalisation is applied once per batch
        y = self.activated(x)
        return self.convolved(y).add_(x if self.same else self.downsample(y))


WideUnit = Callable[[int, int, int], nn.Module]

# ---------------------------------------------------------------------------------------------------------------------
# Net


class WideResNet(Network):
    """Table 1: a convolution of 16 channels, three stages of `n` units, and a last normalisation and rectifier."""

    def __init__(self, unit: WideUnit, n: int, widen: int, stem: Stem, classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1, self.maxpool, stride = stem(in_channels, 16)
        self.channels = [16 * widen, 32 * widen, 64 * widen]
        self.strides = [stride, 2 * stride, 4 * stride]
        self.smallest = self.strides[-1]
        self.first, self.heads, self.stages = "conv1", ("fc",), ("layer1", "layer2", "layer3")
        c_in = 16
        for i, (stage, width) in enumerate(zip(self.stages, self.channels, strict=True)):
            units = [unit(c_in, width, 2 if i > 0 else 1), *(unit(width, width, 1) for _ in range(n - 1))]
            self.add_module(stage, nn.Sequential(*units))
            c_in = width
        self.bn1 = nn.BatchNorm2d(c_in)
        self.fc = nn.Linear(c_in, classes)
        initialise(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i]); the last one activated."""
        require_images(self, x)
        x = self.maxpool(self.conv1(x))
        maps = []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            maps.append(x)
        return [*maps[:-1], F.relu(self.bn1(x), inplace=True)]

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


# ---------------------------------------------------------------------------------------------------------------------
# Table


def wide(depth: int, widen: int, unit: WideUnit = Wide) -> Callable[..., WideResNet]:
    """Table 1's network of `depth` = 6n + 4 layers, `widen` times as wide as resnet.py's."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> WideResNet:
        return WideResNet(unit, (depth - 4) // 6, widen, STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., Network]] = {
    "wide_resnet50_2": imagenet(wide_bottleneck, 4, (3, 4, 6, 3)),
    "wide_resnet101_2": imagenet(wide_bottleneck, 4, (3, 4, 23, 3)),
    "wrn28_10": wide(28, 10),
    "wrn40_4": wide(40, 4),
}
