"""Highway networks: each layer learns by a gate how much of its input to transform and how much to carry.

Srivastava, Greff, Schmidhuber: Training Very Deep Networks. NIPS 2015, arXiv:1507.06228; Highway Networks,
arXiv:1505.00387.

y = H(x) T(x) + x (1 - T(x)) (equation 3): a residual unit with a gated shortcut, which needs no normalisation.

Differences from the paper:
- `highway19` is the network published with the authors' code for CIFAR-10, with its widths, dropout and
  initialisation; it has 2.26 million parameters, the paper says about 2.3. Its last layers are those of Table 3: a 1x1
  convolution to 100 channels, averaged. The 7.54% of Table 2 are of a variant with a large linear layer instead, whose
  width is not given.
- `highway32`: of Highway C the paper gives 32 layers, alternating 3x3 and 1x1, and about 1.25 million parameters.
  Derived from these: three stages of ten layers, 32, 64 and 96 channels, with the last layers and the dropout of
  `highway19`; 1.26 million. Its gate biases start at -3, by the paper's rule for about 30 layers (sec. 2.2).
- The first convolution is initialised like the others, and the classifier from N(0, 0.01), biases with 0, as in
  resnet.py; the authors' file gives 0.05 for both.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network, require_images

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class Highway(nn.Module):
    """A convolutional highway layer. (N, C, H, W) -> (N, C, H, W).

    `side` is the kernel size of both convolutions; `bias` is the initial bias of the transform gates: the more
    negative, the more a new layer carries.
    """

    def __init__(self, channels: int, side: int, bias: float) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, side, padding=side // 2)
        self.gate = nn.Conv2d(channels, channels, side, padding=side // 2)
        self.drop: nn.Module = nn.Identity()
        for convolution, start in ((self.transform, 0.0), (self.gate, bias)):
            initialise_scaled(convolution, start)

    def skip(self, x: Tensor) -> Tensor:
        return x * (1 - self.gate(x).sigmoid())

    def branch(self, x: Tensor) -> Tensor:
        return self.drop(F.relu(self.transform(x)) * self.gate(x).sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        t = self.gate(x).sigmoid()
        return self.drop(F.relu(self.transform(x)) * t) + x * (1 - t)


def initialise_scaled(convolution: nn.Conv2d, bias: float) -> None:
    """Uniform weights of variance 1 / fan-in, and biases `bias`."""
    nn.init.kaiming_uniform_(convolution.weight, nonlinearity="linear")
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, bias)


def plain(c_in: int, c_out: int, side: int) -> nn.Conv2d:
    """A layer without a highway, where the number of channels changes (sec. 2.1)."""
    convolution = nn.Conv2d(c_in, c_out, side, padding=side // 2)
    initialise_scaled(convolution, 0.0)
    return convolution


# ---------------------------------------------------------------------------------------------------------------------
# Net


class HighwayNet(Network):
    """Stages of a plain convolution and highway layers, pooling and dropout in between; 1x1 convolution, average.

    `sides` gives the kernel size of every highway layer, one tuple per stage.
    """

    def __init__(
        self, widths: Sequence[int], sides: Sequence[Sequence[int]], bias: float, classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.first, self.heads = "conv1", ("fc",)
        self.channels, self.strides = list(widths), [2**i for i in range(len(widths))]
        self.smallest = self.strides[-1]
        self.stages = tuple(f"layer{i + 1}" for i in range(len(widths)))
        self.dropout = nn.Dropout(0.2)
        c_in = in_channels
        for i, width in enumerate(widths):
            self.add_module(f"pool{i + 1}", nn.MaxPool2d(2) if i > 0 else nn.Identity())
            self.add_module(f"conv{i + 1}", plain(c_in, width, 3))
            self.add_module(self.stages[i], nn.Sequential(*(Highway(width, side, bias) for side in sides[i])))
            c_in = width
        self.mix = plain(c_in, 100, 1)
        self.fc = nn.Linear(100, classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i])."""
        require_images(self, x)
        maps = []
        for i, stage in enumerate(self.stages, 1):
            x = self.dropout(self.get_submodule(f"pool{i}")(x))
            x = self.get_submodule(stage)(F.relu(self.get_submodule(f"conv{i}")(x), inplace=True))
            maps.append(x)
        return maps

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        mixed = F.relu(self.mix(last), inplace=True)
        return self.fc(self.dropout(mixed.mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


# ---------------------------------------------------------------------------------------------------------------------
# Table


def cifar(widths: Sequence[int], sides: Sequence[Sequence[int]], bias: float) -> Callable[..., HighwayNet]:
    """Every convolution and the classifier counts as a layer."""

    def build(classes: int = 10, channels: int = 3) -> HighwayNet:
        return HighwayNet(widths, sides, bias, classes, channels)

    return build


ALTERNATING = (1, 3, 1, 3, 1, 3, 1, 3, 1)  # after the 3x3 of the plain convolution

NETWORKS: dict[str, Callable[..., HighwayNet]] = {
    "highway19": cifar((32, 80, 128), ((3,) * 4, (3,) * 5, (3,) * 5), -2),
    "highway32": cifar((32, 64, 96), (ALTERNATING,) * 3, -3),
}
