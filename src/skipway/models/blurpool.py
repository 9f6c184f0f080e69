"""ResNet with blur pooling: a low-pass filter before every downsampling.

Zhang: Making Convolutional Networks Shift-Invariant Again. ICML 2019, arXiv:1904.11486.

Differences from the paper: none known; as in the author's code the first convolution has stride 2. State-dict
names are the author's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.resnet import NETWORKS as RESNETS
from skipway.models.resnet import Basic, Bottleneck, ResNet

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class BlurPool(nn.Module):
    """A binomial low-pass filter with stride 2. (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)).

    The filter is the outer product of (1, 3, 3, 1) with itself, the author's default.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor((1.0, 3.0, 3.0, 1.0))
        kernel = torch.outer(row, row)
        self.register_buffer("filt", (kernel / kernel.sum()).expand(channels, 1, -1, -1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 2, 1, 2), mode="reflect"), self.filt.to(x.dtype), stride=2, groups=x.shape[1])


def blurred(convolution: nn.Module, channels: int) -> nn.Sequential:
    """`convolution` after blur pooling of a map of `channels` channels."""
    return nn.Sequential(BlurPool(channels), convolution)


def antialias(net: ResNet) -> ResNet:
    """Replace strides in `net`'s units and pooling by blur pooling: convolutions have stride 1 (Fig. 4)."""
    if isinstance(net.maxpool, nn.MaxPool2d):
        net.maxpool = nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(net.bn1.num_features))
    for unit in net.modules():
        if isinstance(unit, Bottleneck) and unit.conv2.stride == (2, 2):
            unit.conv2.stride = (1, 1)
            unit.add_module("conv3", blurred(unit.conv3, unit.conv2.out_channels))
        elif isinstance(unit, Basic) and unit.conv1.stride == (2, 2):
            unit.conv1.stride = (1, 1)
            unit.add_module("conv2", blurred(unit.conv2, unit.conv1.out_channels))
        else:
            continue
        assert isinstance(unit.downsample, nn.Sequential)
        convolution, norm = unit.downsample
        assert isinstance(convolution, nn.Conv2d)
        convolution.stride = (1, 1)
        unit.downsample = nn.Sequential(BlurPool(convolution.in_channels), convolution, norm)
    net.smallest = 3 * net.strides[-2]  # the last blur reflects two pixels at the border, and needs three
    return net


# ---------------------------------------------------------------------------------------------------------------------
# Table


def antialiased(build: Callable[..., ResNet]) -> Callable[..., ResNet]:
    """`build` with blur pooling; option B shortcuts."""

    def with_blurs(classes: int = 1000, channels: int = 3, stem: str = "imagenet") -> ResNet:
        return antialias(build(classes=classes, channels=channels, stem=stem))

    return with_blurs


NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NETWORKS: dict[str, Callable[..., ResNet]] = {f"{name}_blur": antialiased(RESNETS[name]) for name in NAMES}
