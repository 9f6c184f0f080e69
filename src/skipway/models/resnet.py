"""Residual networks, and plain networks without shortcuts for comparison.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385.

Differences from the paper:
- `resnet50`, `101`, `152` stride in the 3x3 convolution, as widely used weights do; the published form, which strides
  in the first 1x1, is `resnet50_v1`, `101_v1`, `152_v1`.
- The classifier is initialised from N(0, 0.01), biases with 0 (Goyal et al. 2017, arXiv:1706.02677, sec. 5.1), so that
  the first loss is ln(classes); the paper does not specify it.

State-dict names are torchvision's, so its weights load unchanged.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network, require_images

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def conv3x3(c_in: int, c_out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, stride, bias=False)


class ZeroPad(nn.Module):
    """The shortcut of option A where the shape changes: every `stride`-th pixel, and zeros for the new channels.

    (N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride)), without parameters.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.stride > 1:  # the slice's gradient has the default layout, which slows the sum down
            x = F.avg_pool2d(x, 1, self.stride)
        else:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))


def projection(c_in: int, c_out: int, stride: int) -> nn.Module:
    """A 1x1 convolution and batch normalisation: the learned shortcut (equation 2)."""
    return nn.Sequential(conv1x1(c_in, c_out, stride), nn.BatchNorm2d(c_out))


def shortcut_a(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Identity; padded with zeros where the shape changes."""
    return nn.Identity() if stride == 1 and c_in == c_out else ZeroPad(c_in, c_out, stride)


def shortcut_b(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Identity; a projection where the shape changes."""
    return nn.Identity() if stride == 1 and c_in == c_out else projection(c_in, c_out, stride)


def shortcut_c(c_in: int, c_out: int, stride: int) -> nn.Module:
    """A projection everywhere."""
    return projection(c_in, c_out, stride)


def no_shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    """For units without a shortcut; its forward is never called."""
    return nn.Identity()


Shortcut = Callable[[int, int, int], nn.Module]
SHORTCUTS: dict[str, Shortcut] = {"A": shortcut_a, "B": shortcut_b, "C": shortcut_c}


def nothing(channels: int) -> nn.Module:
    """The identity: no module at the end of a branch."""
    return nn.Identity()


Refine = Callable[[int], nn.Module]


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut (Fig. 5, left). (N, c_in, H, W) -> (N, width, H / stride, W / stride).

    `refine` builds the module after the last normalisation, given its channels (senet.py). `drop` is replaced for
    stochastic depth (stochastic_depth.py).
    """

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, shortcut: Shortcut, refine: Refine = nothing) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(c_in, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.se = refine(width)
        self.drop: nn.Module = nn.Identity()
        self.downsample = shortcut(c_in, width, stride)

    def skip(self, x: Tensor) -> Tensor:
        return self.downsample(x)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.drop(self.se(self.bn2(self.conv2(x))))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x).add_(self.skip(x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut (Fig. 5, right). (N, c_in, H, W) -> (N, 4 width, H / stride, W / stride).

    With `first` the stride is in the first 1x1 as published (v1), otherwise in the 3x3 (v1.5). `inner` maps the width
    to the channels of the 3x3, and `groups` is its number of groups (resnext.py, wide_resnet.py).
    """

    expansion = 4

    def __init__(
        self,
        c_in: int,
        width: int,
        stride: int,
        shortcut: Shortcut,
        first: bool = False,
        inner: Callable[[int], int] = int,
        groups: int = 1,
        refine: Refine = nothing,
    ) -> None:
        super().__init__()
        s1, s2 = (stride, 1) if first else (1, stride)
        middle = inner(width)
        self.conv1, self.bn1 = conv1x1(c_in, middle, s1), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = conv3x3(middle, middle, s2, groups), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = conv1x1(middle, 4 * width), nn.BatchNorm2d(4 * width)
        self.se = refine(4 * width)
        self.drop: nn.Module = nn.Identity()
        self.downsample = shortcut(c_in, 4 * width, stride)

    def skip(self, x: Tensor) -> Tensor:
        return self.downsample(x)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return self.drop(self.se(self.bn3(self.conv3(x))))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x).add_(self.skip(x)), inplace=True)


class Plain(nn.Module):
    """The same two convolutions with no shortcut (Fig. 3, middle): the unit whose deep stacks degrade."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(c_in, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


Unit = Callable[[int, int, int, Shortcut], nn.Module]


def imagenet_stem(channels: int, width: int) -> tuple[nn.Conv2d, nn.Module, int]:
    """7x7 stride 2, then 3x3 max pooling stride 2 (Table 1): convolution, pooling and their total stride."""
    return nn.Conv2d(channels, width, 7, 2, padding=3, bias=False), nn.MaxPool2d(3, 2, padding=1), 4


def small_stem(channels: int, width: int) -> tuple[nn.Conv2d, nn.Module, int]:
    """One 3x3 convolution with stride 1 (sec. 4.2), for images of about 64 pixels or fewer."""
    return conv3x3(channels, width), nn.Identity(), 1


Stem = Callable[[int, int], tuple[nn.Module, nn.Module, int]]
STEMS: dict[str, Stem] = {"imagenet": imagenet_stem, "small": small_stem}

# ---------------------------------------------------------------------------------------------------------------------
# Net


class ResNet(Network):
    """A stem, stages of units, global average pooling and a linear classifier.

    `channels` and `strides` describe the maps that `features` returns: their depth, and input pixels per map pixel.
    """

    def __init__(
        self,
        unit: Unit,
        expansion: int,
        depths: Sequence[int],
        width: int,
        shortcut: Shortcut,
        stem: Stem,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.conv1, self.maxpool, stride = stem(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.first = "conv1" if isinstance(self.conv1, nn.Conv2d) else "conv1.0"  # if the stem is a sequence
        self.heads = ("fc",)
        self.stages, self.channels, self.strides = (), [], []
        c_in = width
        for i, depth in enumerate(depths):
            units = []
            for j in range(depth):
                units.append(unit(c_in, width * 2**i, 2 if i > 0 and j == 0 else 1, shortcut))
                c_in = width * 2**i * expansion
            stride *= 2 if i > 0 else 1
            self.stages += (f"layer{i + 1}",)
            self.channels.append(c_in)
            self.strides.append(stride)
            self.add_module(self.stages[-1], nn.Sequential(*units))
        self.smallest = stride
        self.fc = nn.Linear(c_in, classes)
        initialise(self)

    def stem(self, x: Tensor) -> Tensor:
        """The map before pooling: (N, width, H / 2, W / 2), or (N, width, H, W) with the small stem."""
        require_images(self, x)
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stage_maps(self, stem: Tensor) -> list[Tensor]:
        """From the map of the stem to the stages' maps."""
        x, maps = self.maxpool(stem), []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i])."""
        return self.stage_maps(self.stem(x))

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


def initialise(net: nn.Module) -> None:
    """He initialisation of convolutions (arXiv:1502.01852, eq. 14, fan-out); classifier: see the module docstring."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def zero_last_scale(net: nn.Module) -> int:
    """Set each unit's last batch-norm scale to 0, so that every unit starts as the identity (Goyal 2017, sec. 5.1).

    Returns the number of units; only `Basic` and `Bottleneck` units end with a batch normalisation.
    """
    lasts = [m.bn2 if isinstance(m, Basic) else m.bn3 for m in net.modules() if isinstance(m, Basic | Bottleneck)]
    for norm in lasts:
        nn.init.zeros_(norm.weight)
    return len(lasts)


# ---------------------------------------------------------------------------------------------------------------------
# Table

v1 = partial(Bottleneck, first=True)


def imagenet(unit: Unit, expansion: int, depths: Sequence[int]) -> Callable[..., ResNet]:
    """Table 1: four stages from 64 channels; option B shortcuts by default."""

    def build(classes: int = 1000, channels: int = 3, stem: str = "imagenet", shortcut: str = "B") -> ResNet:
        return ResNet(unit, expansion, depths, 64, SHORTCUTS[shortcut], STEMS[stem], classes, channels)

    return build


def cifar(unit: Unit, n: int) -> Callable[..., ResNet]:
    """Sec. 4.2: 6n + 2 layers in three stages from 16 channels; option A shortcuts by default."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small", shortcut: str = "A") -> ResNet:
        return ResNet(unit, 1, (n, n, n), 16, SHORTCUTS[shortcut], STEMS[stem], classes, channels)

    return build


def plain_imagenet(depths: Sequence[int]) -> Callable[..., ResNet]:
    """Table 1 without shortcuts."""

    def build(classes: int = 1000, channels: int = 3, stem: str = "imagenet") -> ResNet:
        return ResNet(Plain, 1, depths, 64, no_shortcut, STEMS[stem], classes, channels)

    return build


def plain_cifar(n: int) -> Callable[..., ResNet]:
    """Sec. 4.2 without shortcuts."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> ResNet:
        return ResNet(Plain, 1, (n, n, n), 16, no_shortcut, STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., ResNet]] = {
    "resnet18": imagenet(Basic, 1, (2, 2, 2, 2)),
    "resnet34": imagenet(Basic, 1, (3, 4, 6, 3)),
    "resnet50": imagenet(Bottleneck, 4, (3, 4, 6, 3)),
    "resnet101": imagenet(Bottleneck, 4, (3, 4, 23, 3)),
    "resnet152": imagenet(Bottleneck, 4, (3, 8, 36, 3)),
    "resnet50_v1": imagenet(v1, 4, (3, 4, 6, 3)),
    "resnet101_v1": imagenet(v1, 4, (3, 4, 23, 3)),
    "resnet152_v1": imagenet(v1, 4, (3, 8, 36, 3)),
    "resnet20": cifar(Basic, 3),
    "resnet32": cifar(Basic, 5),
    "resnet44": cifar(Basic, 7),
    "resnet56": cifar(Basic, 9),
    "resnet110": cifar(Basic, 18),
    "resnet1202": cifar(Basic, 200),
    "plain18": plain_imagenet((2, 2, 2, 2)),
    "plain34": plain_imagenet((3, 4, 6, 3)),
    "plain20": plain_cifar(3),
    "plain32": plain_cifar(5),
    "plain44": plain_cifar(7),
    "plain56": plain_cifar(9),
    "plain110": plain_cifar(18),
}
