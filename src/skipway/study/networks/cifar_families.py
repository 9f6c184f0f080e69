"""Narrow AlexNet, VGG, GoogLeNet, ResNeXt and DenseNet for images of 32 pixels, with three sizes of feature map.

The characteristics of the families are preserved: AlexNet is shallow and has most of its weights in linear layers, VGG
stacks 3x3 convolutions and has the most multiply-adds, GoogLeNet has all nine units of its paper, ResNeXt and DenseNet
have about as many multiply-adds as the residual network, DenseNet with about a third of its parameters.
The residual network is `resnet20` of models/resnet.py.

Departures from the papers, so that one recipe trains them all:
- Every convolution and every hidden linear layer is followed by batch normalisation (Ioffe and Szegedy 2015,
  arXiv:1502.03167). Without it in the linear layers VGG stays at chance.
- Convolutions and hidden linear layers use the initialisation of He et al. (arXiv:1502.01852), classifiers N(0, 0.01).
- GoogLeNet has no auxiliary classifiers; AlexNet has no strides, and 2x2 pooling.
"""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models import densenet
from skipway.models.base import Network, require_images
from skipway.models.googlenet import Convolution, Inception
from skipway.models.resnet import SHORTCUTS, STEMS, ResNet
from skipway.models.resnext import bottleneck
from skipway.models.vgg import Trunk, normalised, trunk

# ---------------------------------------------------------------------------------------------------------------------
# AlexNet and VGG


class LinearHead(Network):
    """Consecutive convolutions with three pooling layers that halve the map, followed by three linear layers.

    `widths`: channels at the pooling layers; `hidden`: units of the first two linear layers, whose input is the map
    averaged to 4x4.
    """

    features = property(trunk)

    def __init__(self, layers: Sequence[nn.Module], widths: Sequence[int], hidden: int, classes: int) -> None:
        super().__init__()
        self.channels, self.strides, self.smallest = list(widths), [2, 4, 8], 8
        self.first, self.heads, self.stages = "features.0", ("classifier.8",), ()
        named: Mapping[str, nn.Module] = {str(i): layer for i, layer in enumerate(layers)}
        ends = [name for name, layer in named.items() if isinstance(layer, nn.MaxPool2d)]
        self.features = Trunk(named, ends, self.smallest)
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.classifier = nn.Sequential(
            *(nn.Linear(16 * widths[-1], hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Dropout(0.5)),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Dropout(0.5)),
            nn.Linear(hidden, classes),
        )
        initialise(self)

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.classifier(self.avgpool(last).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(trunk(self)(x)[-1])


def alexnet(classes: int = 10, channels: int = 3) -> LinearHead:
    """Krizhevsky 2012: five convolutions, two of them 5x5."""

    def large(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 5, padding=2), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

    small = [*normalised(32, 64), *normalised(64, 48), *normalised(48, 48), nn.MaxPool2d(2)]
    return LinearHead([*large(channels, 16), *large(16, 32), *small], (16, 32, 48), 1024, classes)


def vgg(classes: int = 10, channels: int = 3) -> LinearHead:
    """Simonyan 2015: two 3x3 convolutions before each pooling."""
    widths, layers, c_in = (40, 80, 160), list[nn.Module](), channels
    for width in widths:
        layers += [*normalised(c_in, width), *normalised(width, width), nn.MaxPool2d(2)]
        c_in = width
    return LinearHead(layers, widths, 512, classes)


# ---------------------------------------------------------------------------------------------------------------------
# GoogLeNet

UNITS = (  # Szegedy 2014, Table 1, channels: 1x1, (3x3 reduce, 3x3), (5x5 reduce, 5x5), pool projection
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
    (
        (192, (96, 208), (16, 48), 64),
        (160, (112, 224), (24, 64), 64),
        (128, (128, 256), (24, 64), 64),
        (112, (144, 288), (32, 64), 64),
        (256, (160, 320), (32, 128), 128),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
)
WIDTH_FACTOR = 3 / 16  # of the paper's channels, rounded down


def scaled(channels: int) -> int:
    """The number of channels here for a number of the paper's channels."""
    return int(WIDTH_FACTOR * channels)


class GoogLeNet(Network):
    """A 3x3 convolution, nine Inception units at three sizes of map, global average pooling, a linear classifier.

    As in the paper, the map is halved before the first unit.
    """

    def __init__(self, classes: int, in_channels: int) -> None:
        super().__init__()
        self.first, self.heads, self.stages = "stem.conv", ("fc",), ("stage1", "stage2", "stage3")
        self.channels, self.strides, self.smallest = [], [2, 4, 8], 8
        c = scaled(192)
        self.stem = Convolution(in_channels, c, 3)
        for stage, units in zip(self.stages, UNITS, strict=True):
            built = []
            for one, two, three, four in units:
                two, three = (scaled(two[0]), scaled(two[1])), (scaled(three[0]), scaled(three[1]))
                built.append(Inception(c, scaled(one), two, three, scaled(four)))
                c = scaled(one) + two[1] + three[1] + scaled(four)
            self.add_module(stage, nn.Sequential(*built))
            self.channels.append(c)
        self.fc = nn.Linear(c, classes)
        initialise(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i])."""
        require_images(self, x)
        x, maps = self.stem(x), list[Tensor]()
        for stage in self.stages:
            x = self.get_submodule(stage)(F.max_pool2d(x, 2))
            maps.append(x)
        return maps

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


# ---------------------------------------------------------------------------------------------------------------------
# Initialisation and names


def initialise(net: Network) -> None:
    """Initialise as described in the module docstring; biases are 0."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and name in net.heads:
            nn.init.normal_(module.weight, std=0.01)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def googlenet(classes: int = 10, channels: int = 3) -> GoogLeNet:
    return GoogLeNet(classes, channels)


def resnext(classes: int = 10, channels: int = 3) -> ResNet:
    """Xie 2016: two bottlenecks at each size of map, 8 paths, from 16 channels; option B shortcuts."""
    return ResNet(bottleneck(8, 16), 4, (2, 2, 2), 16, SHORTCUTS["B"], STEMS["small"], classes, channels)


NETWORKS: dict[str, Callable[..., Network]] = {
    "alexnet_small": alexnet,
    "vgg_small": vgg,
    "googlenet_small": googlenet,
    "resnext_small": resnext,
    "densenet_small": densenet.cifar_bc(12, 28),
}
