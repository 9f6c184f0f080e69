"""Densely connected networks: each layer sees the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks. CVPR 2017, arXiv:1608.06993.
Pleiss, Chen, Huang, Li, van der Maaten, Weinberger: Memory-Efficient Implementation of DenseNets. 2017,
arXiv:1707.06990 (`save_memory`).

Differences from the papers:
- Convolutions have He initialisation (arXiv:1502.01852) by fan-in, as in torchvision; the authors' is by fan-out.
- The classifier is initialised from N(0, 0.01), biases with 0, so that the first loss is ln(classes).
- No dropout, which the paper uses without data augmentation.
- `save_memory` recomputes the concatenation, where the second paper shares one buffer for all of them.

State-dict names are torchvision's, so its weights load unchanged; `densenet40_12` and `100_12_bc` follow its naming.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skipway.models.activation_checkpointing import frozen_statistics
from skipway.models.base import Network
from skipway.models.resnet import conv1x1, conv3x3
from skipway.models.vgg import Trunk, trunk

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def concat_convolve(norm: nn.BatchNorm2d, convolution: nn.Conv2d, *maps: Tensor) -> Tensor:
    """Concatenate all maps so far, normalise, rectify and convolve: the start of a dense layer."""
    return convolution(F.relu(norm(torch.cat(maps, 1)), inplace=True))


def concat_convolve_checkpointed(norm: nn.BatchNorm2d, convolution: nn.Conv2d, *maps: Tensor) -> Tensor:
    """The same; everything before the convolution's output is not stored for the backward pass but recomputed."""
    if not torch.is_grad_enabled():
        return concat_convolve(norm, convolution, *maps)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(norm)

    return checkpoint(
        concat_convolve, norm, convolution, *maps, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )


InputConvolution = Callable[..., Tensor]  # like concat_convolve


class Dense(nn.Module):
    """One 3x3 convolution of all maps so far (equation 2). [(N, c_i, H, W), ...] -> (N, growth, H, W)."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), conv3x3(c_in, growth)
        self.input_convolution: InputConvolution = concat_convolve

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.input_convolution(self.norm1, self.conv1, *maps)


class DenseBottleneck(nn.Module):
    """A 1x1 convolution to 4 `growth` channels before the 3x3 (DenseNet-B). Shapes as `Dense`."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), conv1x1(c_in, 4 * growth)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), conv3x3(4 * growth, growth)
        self.input_convolution: InputConvolution = concat_convolve

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.input_convolution(self.norm1, self.conv1, *maps)
        return self.conv2(F.relu(self.norm2(x), inplace=True))


Layer = Callable[[int, int], nn.Module]


class Block(nn.Module):
    """`depth` dense layers at one resolution. (N, c_in, H, W) -> (N, c_in + depth * growth, H, W)."""

    def __init__(self, layer: Layer, depth: int, c_in: int, growth: int) -> None:
        super().__init__()
        for i in range(depth):
            self.add_module(f"denselayer{i + 1}", layer(c_in + i * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class Transition(nn.Module):
    """Between two blocks: a 1x1 convolution and 2x2 average pooling. (N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c_in), conv1x1(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)


def imagenet_stem(channels: int, width: int) -> tuple[dict[str, nn.Module], int]:
    """7x7 stride 2, then 3x3 max pooling stride 2 (Table 1): the layers and their total stride."""
    convolution = nn.Conv2d(channels, width, 7, 2, padding=3, bias=False)
    norm, relu, pool = nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
    return {"conv0": convolution, "norm0": norm, "relu0": relu, "pool0": pool}, 4


def small_stem(channels: int, width: int) -> tuple[dict[str, nn.Module], int]:
    """One 3x3 convolution with stride 1 (sec. 3, implementation details)."""
    return {"conv0": conv3x3(channels, width)}, 1


Stem = Callable[[int, int], tuple[dict[str, nn.Module], int]]
STEMS: dict[str, Stem] = {"imagenet": imagenet_stem, "small": small_stem}

# ---------------------------------------------------------------------------------------------------------------------
# Net


class DenseNet(Network):
    """A stem, dense blocks with transitions between them, a last normalisation and a linear classifier.

    `width`: channels of the stem; a transition keeps the fraction `compression` of a block's channels.
    """

    features = property(trunk)

    def __init__(
        self,
        layer: Layer,
        growth: int,
        depths: Sequence[int],
        width: int,
        compression: float,
        stem: Stem,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.first, self.heads, self.stages, self.channels = "features.conv0", ("classifier",), (), []
        layers, stride = stem(in_channels, width)
        self.strides = [stride * 2**i for i in range(len(depths))]
        self.smallest = self.strides[-1]
        c = width
        for i, depth in enumerate(depths, 1):
            layers[f"denseblock{i}"] = Block(layer, depth, c, growth)
            c += depth * growth
            self.channels.append(c)
            if i < len(depths):
                layers[f"transition{i}"] = Transition(c, int(c * compression))
                c = int(c * compression)
        layers |= {"norm5": nn.BatchNorm2d(c), "relu5": nn.ReLU(inplace=True)}
        ends = [f"denseblock{i}" for i in range(1, len(depths))]
        self.features = Trunk(layers, [*ends, "relu5"], self.smallest)
        self.classifier = nn.Linear(c, classes)
        initialise(self)

    def classify(self, last: Tensor) -> Tensor:
        """The last map -> class scores (N, classes)."""
        return self.classifier(last.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> class scores (N, classes)."""
        return self.classify(trunk(self)(x)[-1])

    def save_memory(self) -> bool:
        """Recompute the concatenations in the backward pass.

        Memory then grows linearly with a block's depth instead of quadratically; the second paper reports 15 to 20 %
        more time. Outputs, gradients and running statistics do not change.
        """
        for module in self.modules():
            if isinstance(module, Dense | DenseBottleneck):
                module.input_convolution = concat_convolve_checkpointed
        return True


def initialise(net: nn.Module) -> None:
    """Initialise as described in the module docstring."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


# ---------------------------------------------------------------------------------------------------------------------
# Table


def imagenet(growth: int, depths: Sequence[int]) -> Callable[..., DenseNet]:
    """Table 1: DenseNet-BC with four blocks."""

    def build(classes: int = 1000, channels: int = 3, stem: str = "imagenet") -> DenseNet:
        return DenseNet(DenseBottleneck, growth, depths, 2 * growth, 0.5, STEMS[stem], classes, channels)

    return build


def cifar(growth: int, depth: int) -> Callable[..., DenseNet]:
    """Sec. 3: three blocks of (`depth` - 4) / 3 layers, from 16 channels; transitions keep all channels."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> DenseNet:
        depths = [(depth - 4) // 3] * 3
        return DenseNet(Dense, growth, depths, 16, 1.0, STEMS[stem], classes, channels)

    return build


def cifar_bc(growth: int, depth: int) -> Callable[..., DenseNet]:
    """Sec. 3: three blocks of (`depth` - 4) / 6 bottlenecks, from 2 `growth` channels; transitions halve."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small") -> DenseNet:
        depths = [(depth - 4) // 6] * 3
        return DenseNet(DenseBottleneck, growth, depths, 2 * growth, 0.5, STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., DenseNet]] = {
    "densenet121": imagenet(32, (6, 12, 24, 16)),
    "densenet161": imagenet(48, (6, 12, 36, 24)),
    "densenet169": imagenet(32, (6, 12, 32, 32)),
    "densenet201": imagenet(32, (6, 12, 48, 32)),
    "densenet40_12": cifar(12, 40),
    "densenet100_12_bc": cifar_bc(12, 100),
}
