"""GoogLeNet: Inception units of four parallel branches, and auxiliary classifiers.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions. CVPR 2015,
arXiv:1409.4842.

Differences from the paper, all as in torchvision, so that its weights load:
- Every convolution is followed by batch normalisation, and has no bias; there is no local response normalisation.
- The third branch of a unit has a 3x3 instead of a 5x5 convolution.
- The auxiliary classifiers average maps of any size to 4x4; the paper pools 5x5 with stride 3.
- The last pooling between units is 2x2; in the paper 3x3 like the others.
- The dropout before the classifier is 0.2; the paper's is 0.4.
- Weights are initialised from N(0, 0.01), biases with 0; the paper does not specify it.

State-dict names are torchvision's, so its weights load unchanged.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import ModelOutput, Network, require_images

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class Convolution(nn.Module):
    """A convolution, batch normalisation and a rectifier."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four parallel branches (Fig. 2b): 1x1; 1x1 and 3x3, twice; pooling and 1x1. Their maps are concatenated.

    `two` and `three` are the channels of the 1x1 and 3x3 convolutions of branches 2 and 3.
    """

    def __init__(self, c_in: int, one: int, two: tuple[int, int], three: tuple[int, int], four: int) -> None:
        super().__init__()
        self.branch1 = Convolution(c_in, one, 1)
        self.branch2 = nn.Sequential(Convolution(c_in, two[0], 1), Convolution(*two, 3))
        self.branch3 = nn.Sequential(Convolution(c_in, three[0], 1), Convolution(*three, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), Convolution(c_in, four, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class Auxiliary(nn.Module):
    """An auxiliary classifier. (N, c_in, H, W) -> (N, classes)."""

    def __init__(self, c_in: int, classes: int) -> None:
        super().__init__()
        self.conv = Convolution(c_in, 128, 1)
        self.fc1, self.fc2 = nn.Linear(128 * 4 * 4, 1024), nn.Linear(1024, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


# ---------------------------------------------------------------------------------------------------------------------
# Net


class GoogLeNet(Network):
    """Table 1: three convolutions, nine Inception units, global average pooling and a linear classifier."""

    def __init__(self, classes: int, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides, self.smallest = [192, 480, 832, 1024], [4, 8, 16, 32], 32
        self.first, self.heads, self.stages = "conv1.conv", ("fc", "aux1.fc2", "aux2.fc2"), ()
        self.conv1 = Convolution(in_channels, 64, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = Convolution(64, 64, 1), Convolution(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1, self.aux2 = Auxiliary(512, classes), Auxiliary(528, classes)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)
        initialise(self)

    def maps(self, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The stages' maps, and the inputs of the two auxiliary classifiers."""
        require_images(self, x)
        two = self.conv3(self.conv2(self.maxpool1(self.conv1(x))))
        three = self.inception3b(self.inception3a(self.maxpool2(two)))
        early = self.inception4a(self.maxpool3(three))
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        four = self.inception4e(late)
        five = self.inception5b(self.inception5a(self.maxpool4(four)))
        return [two, three, four, five], early, late

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i])."""
        return self.maps(x)[0]

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(self.dropout(last.mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor | ModelOutput:
        """Images (N, in_channels, H, W) -> class scores (N, classes); in training also auxiliary scores."""
        maps, early, late = self.maps(x)
        scores = self.classify(maps[-1])
        return ModelOutput(scores, (self.aux1(early), self.aux2(late))) if self.training else scores


def initialise(net: nn.Module) -> None:
    """Initialise as described in the module docstring."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


# ---------------------------------------------------------------------------------------------------------------------
# Table


def googlenet(classes: int = 1000, channels: int = 3) -> GoogLeNet:
    return GoogLeNet(classes, channels)


NETWORKS: dict[str, Callable[..., GoogLeNet]] = {"googlenet": googlenet}
