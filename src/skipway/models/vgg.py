"""VGG: a sequence of 3x3 convolutions and pooling.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, arXiv:1409.1556.

Differences from the paper:
- Convolutions have He initialisation (arXiv:1502.01852, by fan-out), as in torchvision, so that deep networks train
  from scratch; the paper initialises them with a shallower network's weights. Linear layers: N(0, 0.01).
- Dropout follows the rectifier of each hidden linear layer.
- For images of other sizes than 224 pixels the last maps are averaged to 7x7.
- The `_bn` variants normalise every convolution (Ioffe and Szegedy 2015, arXiv:1502.03167), which is later than VGG.

State-dict names are torchvision's, so its weights load unchanged.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from skipway.models.base import Network, require_images

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class Trunk(nn.Sequential):
    """A sequence of layers that returns the outputs of the layers named in `ends`: the feature maps, finest first."""

    def __init__(self, layers: Mapping[str, nn.Module], ends: Sequence[str], smallest: int) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.ends, self.smallest, self.first = tuple(ends), smallest, next(iter(layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        require_images(self, x)
        maps = []
        for name, layer in self.named_children():
            x = layer(x)
            if name in self.ends:
                maps.append(x)
        return maps


def trunk(net: Network) -> Trunk:
    """The child `features`: torchvision's name, which is also the name of the interface's method; it is callable."""
    child = net._modules["features"]
    assert isinstance(child, Trunk)
    return child


def rectified(c_in: int, c_out: int) -> list[nn.Module]:
    """A 3x3 convolution and a rectifier."""
    return [skip_init(nn.Conv2d, c_in, c_out, 3, padding=1, device=default_device()), nn.ReLU(inplace=True)]


def normalised(c_in: int, c_out: int) -> list[nn.Module]:
    """A 3x3 convolution, batch normalisation and a rectifier."""
    convolution, relu = rectified(c_in, c_out)
    return [convolution, nn.BatchNorm2d(c_out), relu]


def linear(c_in: int, c_out: int) -> nn.Module:
    return skip_init(nn.Linear, c_in, c_out, device=default_device())


def default_device() -> torch.device:
    """The default device: `skip_init`, which saves most of the time of building, does not use it itself."""
    return torch.empty(0).device


Convolution = Callable[[int, int], list[nn.Module]]

# ---------------------------------------------------------------------------------------------------------------------
# Net


class VGG(Network):
    """Five stages of convolutions, each followed by pooling, and three linear layers."""

    features = property(trunk)

    def __init__(self, convolution: Convolution, depths: Sequence[int], classes: int, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides, self.smallest = [64, 128, 256, 512, 512], [2, 4, 8, 16, 32], 32
        self.first, self.heads, self.stages = "features.0", ("classifier.6",), ()
        layers: list[nn.Module] = []
        ends, c_in = [], in_channels
        for depth, width in zip(depths, self.channels, strict=True):
            for _ in range(depth):
                layers += convolution(c_in, width)
                c_in = width
            ends.append(str(len(layers)))
            layers.append(nn.MaxPool2d(2, 2))
        self.features = Trunk({str(i): layer for i, layer in enumerate(layers)}, ends, self.smallest)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            linear(4096, classes),
        )
        initialise(self)

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.classifier(self.avgpool(last).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(trunk(self)(x)[-1])


def initialise(net: nn.Module) -> None:
    """Initialise as described in the module docstring; biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        assert module.bias is not None
        nn.init.zeros_(module.bias)


# ---------------------------------------------------------------------------------------------------------------------
# Table


def vgg(convolution: Convolution, depths: Sequence[int]) -> Callable[..., VGG]:
    """Table 1: `depths` convolutions in each of the five stages, and three linear layers."""

    def build(classes: int = 1000, channels: int = 3) -> VGG:
        return VGG(convolution, depths, classes, channels)

    return build


NETWORKS: dict[str, Callable[..., VGG]] = {
    "vgg11": vgg(rectified, (1, 1, 2, 2, 2)),
    "vgg13": vgg(rectified, (2, 2, 2, 2, 2)),
    "vgg16": vgg(rectified, (2, 2, 3, 3, 3)),
    "vgg19": vgg(rectified, (2, 2, 4, 4, 4)),
    "vgg11_bn": vgg(normalised, (1, 1, 2, 2, 2)),
    "vgg13_bn": vgg(normalised, (2, 2, 2, 2, 2)),
    "vgg16_bn": vgg(normalised, (2, 2, 3, 3, 3)),
    "vgg19_bn": vgg(normalised, (2, 2, 4, 4, 4)),
}
