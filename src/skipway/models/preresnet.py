"""Pre-activation residual networks, and the activation orders and shortcuts they were compared with.

He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027.

A full pre-activation unit adds its branch to an otherwise unchanged signal, so that between any two units of a stage
the signal is a plain sum (equation 4). The paper derives it by moving the normalisations and rectifiers of the 2015
unit (Fig. 4, Table 2) and by showing the cost of anything on the shortcut (Fig. 2, Table 1); each of these variants is
a network here. The rows of the 2015 networks are `resnet110` (resnet.py), `resnet164` and `resnet1001`.

Differences from the paper:
- The networks of 110 layers use the parameter-free shortcuts of 2015: where the shape changes, the subsampled signal
  padded with zeros (option A). The paper specifies none for pre-activation networks of basic units; with option A the
  signal remains a sum.
- Where the shape changes under "BN after addition" and "ReLU before addition", the networks of 164 layers project as in
  2015, with a normalisation; under "ReLU-only" they project the rectified signal. The paper does not specify it.
- A gate takes the unit's input with the unit's stride, and scales the output of option A. The 1x1 convolution on the
  shortcut is followed by a normalisation, as in 2015 (option C). The paper specifies neither.
- The networks for ImageNet have the form of timm's `resnetv2`, so that its weights load (`from_timm`): the first
  activation follows the stem's pooling, in the paper the convolution; bottlenecks stride in the 3x3, while the CIFAR
  networks stride in the first 1x1 as in the authors' code; and in 18 and 34 layers, which the paper does not have, the
  first unit's shortcut bypasses the first activation. `resnet200` also strides in the 3x3.
- The extra activation after the last addition is part of the last map that `features` returns.
- The classifier is initialised from N(0, 0.01), biases with 0, as in resnet.py.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models import resnet
from skipway.models.base import Network, require_images
from skipway.models.resnet import (
    STEMS,
    Basic,
    Bottleneck,
    Refine,
    ResNet,
    Shortcut,
    Stem,
    conv1x1,
    conv3x3,
    initialise,
    nothing,
    shortcut_a,
    shortcut_b,
    shortcut_c,
    v1,
)

# ---------------------------------------------------------------------------------------------------------------------
# Parts: the convolutions of a branch

Layers = Callable[[int, int, int], list[nn.Conv2d]]


def basic(c_in: int, width: int, stride: int) -> list[nn.Conv2d]:
    """Two 3x3 convolutions: c_in -> width."""
    return [conv3x3(c_in, width, stride), conv3x3(width, width)]


def bottleneck(c_in: int, width: int, stride: int) -> list[nn.Conv2d]:
    """1x1, 3x3, 1x1: c_in -> 4 width; the 3x3 has the stride."""
    return [conv1x1(c_in, width), conv3x3(width, width, stride), conv1x1(width, 4 * width)]


def bottleneck_v1(c_in: int, width: int, stride: int) -> list[nn.Conv2d]:
    """1x1, 3x3, 1x1: c_in -> 4 width; the first 1x1 has the stride."""
    return [conv1x1(c_in, width, stride), conv3x3(width, width), conv1x1(width, 4 * width)]


# ---------------------------------------------------------------------------------------------------------------------
# Parts: the orders of Fig. 4


def bn_relu(channels: int) -> nn.Module:
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))


def relu(channels: int) -> nn.Module:
    return nn.ReLU()  # not in place: the shortcut uses its input


class Activations(NamedTuple):
    """A unit's parts in order: before the weights, the branch, and after the addition."""

    pre: nn.Module
    layers: nn.Sequential
    post: nn.Module


Order = Callable[[Sequence[nn.Conv2d]], Activations]


def chain(convolutions: Sequence[nn.Conv2d], omit: int) -> nn.Sequential:
    """Convolution, normalisation and rectifier for each convolution, without the last `omit` modules."""
    parts: list[tuple[str, nn.Module]] = []
    for i, convolution in enumerate(convolutions, 1):
        parts.append((f"conv{i}", convolution))
        parts.append((f"bn{i}", nn.BatchNorm2d(convolution.out_channels)))
        parts.append((f"relu{i}", nn.ReLU(inplace=True)))
    return nn.Sequential(OrderedDict(parts[: len(parts) - omit]))


def bn_after(convolutions: Sequence[nn.Conv2d]) -> Activations:
    """Fig. 4b: the sum is normalised and rectified."""
    return Activations(nn.Identity(), chain(convolutions, 2), bn_relu(convolutions[-1].out_channels))


def relu_before(convolutions: Sequence[nn.Conv2d]) -> Activations:
    """Fig. 4c: the branch is rectified before the addition, and is never negative."""
    return Activations(nn.Identity(), chain(convolutions, 0), nn.Identity())


def relu_only(convolutions: Sequence[nn.Conv2d]) -> Activations:
    """Fig. 4d: a rectifier before the branch, which ends with its normalisation."""
    return Activations(relu(convolutions[0].in_channels), chain(convolutions, 1), nn.Identity())


def full(convolutions: Sequence[nn.Conv2d]) -> Activations:
    """Fig. 4e: normalisation and rectifier before each convolution."""
    return Activations(bn_relu(convolutions[0].in_channels), chain(convolutions, 2), nn.Identity())


# ---------------------------------------------------------------------------------------------------------------------
# Parts: units


class Private(nn.Module):
    """A unit whose pre-activation is only in the branch: the shortcut is the unchanged signal (equation 9).

    (N, c_in, H, W) -> (N, channels of the last convolution, H / stride, W / stride).
    """

    def __init__(self, activations: Activations, downsample: nn.Module) -> None:
        super().__init__()
        self.pre, self.layers, self.post = activations
        self.drop: nn.Module = nn.Identity()
        self.downsample = downsample

    def skip(self, x: Tensor) -> Tensor:
        return self.downsample(x)

    def branch(self, x: Tensor) -> Tensor:
        return self.drop(self.layers(self.pre(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.post(self.skip(x) + self.branch(x))


class Shared(nn.Module):
    """A unit whose pre-activation is shared by both paths: the first of a network, and units that project (appendix).

    Parts, names and shapes are those of `Private`.
    """

    def __init__(self, activations: Activations, downsample: nn.Module) -> None:
        super().__init__()
        self.pre, self.layers, self.post = activations
        self.drop: nn.Module = nn.Identity()
        self.downsample = downsample

    def skip(self, x: Tensor) -> Tensor:
        return self.downsample(self.pre(x))

    def branch(self, x: Tensor) -> Tensor:
        return self.drop(self.layers(self.pre(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)  # once, so that its statistics are updated once per batch
        return self.post(self.downsample(x) + self.drop(self.layers(x)))


def private(layers: Layers, order: Order) -> resnet.Unit:
    def make(c_in: int, width: int, stride: int, shortcut: Shortcut) -> nn.Module:
        convolutions = layers(c_in, width, stride)
        return Private(order(convolutions), shortcut(c_in, convolutions[-1].out_channels, stride))

    return make


def shared(layers: Layers, order: Order) -> resnet.Unit:
    def make(c_in: int, width: int, stride: int, shortcut: Shortcut) -> nn.Module:
        convolutions = layers(c_in, width, stride)
        return Shared(order(convolutions), shortcut(c_in, convolutions[-1].out_channels, stride))

    return make


def shared_where_it_changes(layers: Layers, order: Order) -> resnet.Unit:
    """`Shared` if the unit changes the shape, `Private` otherwise."""

    def make(c_in: int, width: int, stride: int, shortcut: Shortcut) -> nn.Module:
        convolutions = layers(c_in, width, stride)
        c_out = convolutions[-1].out_channels
        unit = Private if stride == 1 and c_in == c_out else Shared
        return unit(order(convolutions), shortcut(c_in, c_out, stride))

    return make


def bare_projection(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Identity; a 1x1 convolution of the activated signal where the shape changes."""
    return nn.Identity() if stride == 1 and c_in == c_out else conv1x1(c_in, c_out, stride)


# ---------------------------------------------------------------------------------------------------------------------
# Parts: the shortcuts of Fig. 2, with the units of 2015


class Scale(nn.Module):
    """A constant factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def scale_by(factor: float) -> Refine:
    """The same constant factor for every branch."""

    def make(channels: int) -> nn.Module:
        return Scale(factor)

    return make


def scaled(factor: float) -> Shortcut:
    """Option A, scaled (Fig. 2b)."""

    def make(c_in: int, c_out: int, stride: int) -> nn.Module:
        return nn.Sequential(shortcut_a(c_in, c_out, stride), Scale(factor))

    return make


def dropped(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Option A with dropout of 0.5 (Fig. 2f)."""
    return nn.Sequential(shortcut_a(c_in, c_out, stride), nn.Dropout(0.5))


def gate(c_in: int, c_out: int, stride: int, bias: float) -> nn.Module:
    """g(x) = sigmoid(W x + b), a 1x1 convolution; b is initialised with `bias`."""
    convolution = nn.Conv2d(c_in, c_out, 1, stride)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, bias)
    return nn.Sequential(convolution, nn.Sigmoid())


class GatedShortcut(nn.Module):
    """(1 - g(x)) times option A (Fig. 2d). (N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int, bias: float) -> None:
        super().__init__()
        self.gate = gate(c_in, c_out, stride, bias)
        self.shortcut = shortcut_a(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.gate(x)) * self.shortcut(x)


class Exclusive(nn.Module):
    """A basic unit whose branch is multiplied by g(x), and whose shortcut by 1 - g(x) (Fig. 2c)."""

    def __init__(self, c_in: int, width: int, stride: int, shortcut: Shortcut, bias: float) -> None:
        super().__init__()
        self.layers = chain(basic(c_in, width, stride), 1)
        self.gate = gate(c_in, width, stride, bias)
        self.drop: nn.Module = nn.Identity()
        self.downsample = shortcut(c_in, width, stride)

    def skip(self, x: Tensor) -> Tensor:
        return (1 - self.gate(x)) * self.downsample(x)

    def branch(self, x: Tensor) -> Tensor:
        return self.drop(self.gate(x) * self.layers(x))

    def forward(self, x: Tensor) -> Tensor:
        g = self.gate(x)
        return F.relu((1 - g) * self.downsample(x) + self.drop(g * self.layers(x)), inplace=True)


# ---------------------------------------------------------------------------------------------------------------------
# Net


class Design(NamedTuple):
    """The parts of a pre-activation network; `norm` follows the stem, `last` the last addition (appendix)."""

    first: resnet.Unit
    unit: resnet.Unit
    expansion: int
    shortcut: Shortcut
    norm: Refine
    last: Refine


class PreResNet(Network):
    """A stem, stages of units, the last activation, global average pooling and a linear classifier."""

    def __init__(
        self, design: Design, depths: Sequence[int], width: int, stem: Stem, classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1, self.maxpool, stride = stem(in_channels, width)
        self.norm = design.norm(width)
        self.first, self.heads = "conv1", ("fc",)
        self.stages, self.channels, self.strides = (), [], []
        c_in, make = width, design.first
        for i, depth in enumerate(depths):
            units = []
            for j in range(depth):
                units.append(make(c_in, width * 2**i, 2 if i > 0 and j == 0 else 1, design.shortcut))
                c_in, make = width * 2**i * design.expansion, design.unit
            stride *= 2 if i > 0 else 1
            self.stages += (f"layer{i + 1}",)
            self.channels.append(c_in)
            self.strides.append(stride)
            self.add_module(self.stages[-1], nn.Sequential(*units))
        self.smallest = stride
        self.last = design.last(c_in)
        self.fc = nn.Linear(c_in, classes)
        initialise(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, finest first: (N, channels[i], H / strides[i], W / strides[i]); the last is activated."""
        require_images(self, x)
        x = self.norm(self.maxpool(self.conv1(x)))
        maps = []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            maps.append(x)
        return [*maps[:-1], self.last(x)]

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.fc(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(self.features(x)[-1])


TIMM: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^stem\.conv\.", "conv1."),
    (r"^stages\.(\d)\.blocks\.", lambda found: f"layer{int(found[1]) + 1}."),  # timm counts stages from 0
    (r"\.norm1\.", ".pre.bn."),
    (
        r"\.norm([23])\.",
        lambda found: f".layers.bn{int(found[1]) - 1}.",
    ),  # ours has the number of the convolution before it
    (r"\.conv([123])\.", r".layers.conv\1."),
    (r"\.downsample\.conv\.", ".downsample."),
    (r"^norm\.", "last.bn."),
    (r"^head\.fc\.", "fc."),
)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's `resnetv2` weights (18, 34, 50, 101 or 152 with batch normalisation) to our names."""
    ours = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in TIMM:
            name = re.sub(pattern, replacement, name)
        ours[name] = value.flatten(1) if name == "fc.weight" else value  # timm's classifier is a 1x1 convolution
    return ours


# ---------------------------------------------------------------------------------------------------------------------
# Table

FULL_A = Design(shared(basic, full), private(basic, full), 1, shortcut_a, nothing, bn_relu)
FULL_BASIC = Design(private(basic, full), shared_where_it_changes(basic, full), 1, bare_projection, nothing, bn_relu)


def bottlenecks(layers: Layers, order: Order, project: Shortcut, norm: Refine, last: Refine) -> Design:
    """The first unit of a bottleneck network changes the shape, so the same rule makes its activation shared."""
    unit = shared_where_it_changes(layers, order)
    return Design(unit, unit, 4, project, norm, last)


FULL_BOTTLENECK = bottlenecks(bottleneck, full, bare_projection, nothing, bn_relu)
FULL_BOTTLENECK_V1 = bottlenecks(bottleneck_v1, full, bare_projection, nothing, bn_relu)
RELU_ONLY_A = Design(shared(basic, relu_only), private(basic, relu_only), 1, shortcut_a, nn.BatchNorm2d, relu)
RELU_ONLY_BOTTLENECK = bottlenecks(bottleneck_v1, relu_only, shortcut_b, nn.BatchNorm2d, relu)


def imagenet(design: Design, depths: Sequence[int]) -> Callable[..., PreResNet]:
    """Four stages from 64 channels."""

    def build(classes: int = 1000, channels: int = 3, stem: str = "imagenet") -> PreResNet:
        return PreResNet(design, depths, 64, STEMS[stem], classes, channels)

    return build


def cifar(design: Design, n: int) -> Callable[..., PreResNet]:
    """Three stages of n units from 16 channels: 6n + 2 layers of basic units, 9n + 2 of bottlenecks."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> PreResNet:
        return PreResNet(design, (n, n, n), 16, STEMS[stem], classes, channels)

    return build


def after_addition(unit: resnet.Unit, expansion: int, n: int, shortcut: Shortcut) -> Callable[..., ResNet]:
    """As `cifar`, with units that activate after the addition, as in 2015: the network is a `ResNet`."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> ResNet:
        return ResNet(unit, expansion, (n, n, n), 16, shortcut, STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., Network]] = {
    "preresnet18": imagenet(FULL_BASIC, (2, 2, 2, 2)),
    "preresnet34": imagenet(FULL_BASIC, (3, 4, 6, 3)),
    "preresnet50": imagenet(FULL_BOTTLENECK, (3, 4, 6, 3)),
    "preresnet101": imagenet(FULL_BOTTLENECK, (3, 4, 23, 3)),
    "preresnet152": imagenet(FULL_BOTTLENECK, (3, 8, 36, 3)),
    "preresnet200": imagenet(FULL_BOTTLENECK, (3, 24, 36, 3)),
    "resnet200": resnet.imagenet(Bottleneck, 4, (3, 24, 36, 3)),
    "preresnet20": cifar(FULL_A, 3),
    "preresnet32": cifar(FULL_A, 5),
    "preresnet44": cifar(FULL_A, 7),
    "preresnet56": cifar(FULL_A, 9),
    "preresnet110": cifar(FULL_A, 18),
    "preresnet2000": cifar(FULL_A, 333),
    "preresnet164": cifar(FULL_BOTTLENECK_V1, 18),
    "preresnet1001": cifar(FULL_BOTTLENECK_V1, 111),
    "resnet164": after_addition(v1, 4, 18, shortcut_b),
    "resnet1001": after_addition(v1, 4, 111, shortcut_b),
    # Table 2: the orders
    "resnet110_bn_after": after_addition(private(basic, bn_after), 1, 18, shortcut_a),
    "resnet110_relu_before": after_addition(private(basic, relu_before), 1, 18, shortcut_a),
    "resnet110_relu_only": cifar(RELU_ONLY_A, 18),
    "resnet164_bn_after": after_addition(private(bottleneck_v1, bn_after), 4, 18, shortcut_b),
    "resnet164_relu_before": after_addition(private(bottleneck_v1, relu_before), 4, 18, shortcut_b),
    "resnet164_relu_only": cifar(RELU_ONLY_BOTTLENECK, 18),
    # Table 1: the shortcuts; a number at the end is the negative of the gates' initial bias, if it is not 6
    "resnet110_scaled_zero": after_addition(Basic, 1, 18, scaled(0)),
    "resnet110_scaled_half": after_addition(Basic, 1, 18, scaled(0.5)),
    "resnet110_scaled_both": after_addition(partial(Basic, refine=scale_by(0.5)), 1, 18, scaled(0.5)),
    "resnet110_exclusive_gate": after_addition(partial(Exclusive, bias=-6), 1, 18, shortcut_a),
    "resnet110_exclusive_gate0": after_addition(partial(Exclusive, bias=0), 1, 18, shortcut_a),
    "resnet110_exclusive_gate5": after_addition(partial(Exclusive, bias=-5), 1, 18, shortcut_a),
    "resnet110_exclusive_gate7": after_addition(partial(Exclusive, bias=-7), 1, 18, shortcut_a),
    "resnet110_shortcut_gate": after_addition(Basic, 1, 18, partial(GatedShortcut, bias=-6)),
    "resnet110_shortcut_gate0": after_addition(Basic, 1, 18, partial(GatedShortcut, bias=0)),
    "resnet110_conv_shortcut": after_addition(Basic, 1, 18, shortcut_c),
    "resnet110_dropout_shortcut": after_addition(Basic, 1, 18, dropped),
}
