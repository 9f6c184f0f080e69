"""Dilated convolutions in the place of strides: finer last maps of a residual network with the same weights.

Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation. 2017, arXiv:1706.05587,
sec. 3.1. Yu, Koltun, Funkhouser: Dilated Residual Networks. CVPR 2017, arXiv:1705.09914, sec. 2.

At the pixels that the strided network computes, the dilated one computes the same values. There is no multi-grid: all
units of a stage have the same dilation.
"""

import torch
from torch import Tensor, nn

from skipway.errors import SkipwayError
from skipway.models.base import Network
from skipway.models.resnet import Basic, Bottleneck, ResNet, ZeroPad

OUTPUT_STRIDES = (8, 16, 32)


class DilatedAverage(nn.Module):
    """The mean of 2x2 pixels that are `dilation` apart, of those within the map. (N, C, H, W) unchanged.

    The average pooling of resnetd.py's shortcuts, whose pixels are neighbours in the strided map.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        d = self.dilation
        x = (x + torch.cat([x[..., d:], x[..., -d:]], -1)) / 2  # the last pixels have no partner but themselves
        return (x + torch.cat([x[..., d:, :], x[..., -d:, :]], -2)) / 2


def dilate(net: Network, output_stride: int) -> ResNet:
    """Replace, in place, the strides in the units of `net` that lead below `output_stride` pixels by dilation.

    Each stride doubles the dilation of the 3x3 convolutions after it; the convolution that had it keeps the dilation
    before. Raises SkipwayError for other numbers than OUTPUT_STRIDES, and for networks of other units than `Basic` and
    `Bottleneck`.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise SkipwayError(f"an output stride of {output_stride}: choose 8, 16 or 32")
    if not isinstance(net, ResNet):
        raise SkipwayError(f"units of {type(net).__name__} cannot be dilated: choose a residual network as the body")
    dilation = 1
    for i, stage in enumerate(net.stages):
        if i == 0 or net.strides[i] <= output_stride:
            continue
        for unit in net.get_submodule(stage).children():
            dilation = dilate_unit(unit, dilation)
    net.strides = [min(stride, output_stride) for stride in net.strides]
    net.smallest = min(net.smallest, output_stride)
    return net


def dilate_unit(unit: nn.Module, dilation: int) -> int:
    """Dilate the convolutions of `unit`, whose input needs `dilation`; returns the dilation that its output needs."""
    if not isinstance(unit, Basic | Bottleneck):
        raise SkipwayError(f"units of {type(unit).__name__} cannot be dilated: choose a residual network as the body")
    after = dilation
    convolutions = [unit.conv1, unit.conv2] + ([unit.conv3] if isinstance(unit, Bottleneck) else [])
    for convolution in convolutions:
        if not isinstance(convolution, nn.Conv2d):
            raise SkipwayError("units with blur pooling cannot be dilated: choose a residual network without it")
        if convolution.kernel_size == (3, 3):
            convolution.dilation = convolution.padding = (after, after)
        if convolution.stride == (2, 2):
            convolution.stride, after = (1, 1), 2 * after
    if after != dilation:
        unit.downsample = without_stride(unit.downsample, dilation)
    return after


def without_stride(shortcut: nn.Module, dilation: int) -> nn.Module:
    """The `shortcut` of a unit that had a stride of 2, for a map that needs `dilation`."""
    for part in shortcut.modules():
        if isinstance(part, nn.Conv2d):
            part.stride = (1, 1)
        elif isinstance(part, ZeroPad):
            part.stride = 1
    if isinstance(shortcut, nn.Sequential) and isinstance(shortcut[0], nn.AvgPool2d):
        shortcut[0] = DilatedAverage(dilation)
    return shortcut
