"""DeepLabv3: the last map of a dilated network, seen at several dilations side by side.

Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation. 2017, arXiv:1706.05587.

Differences from the paper, as in torchvision, whose weights load unchanged:
- The output stride is 8 in training too, with the dilations 12, 24 and 36 (sec. 4.1 trains with 16 and half of them).
- There is a 3x3 convolution before that of the scores, dropout, and an auxiliary classifier (fcn.py). The units of the
  last stage have equal dilations, without multi-grid.

Difference from torchvision: the pooled branch normalises one value per channel and image. In a batch of one image their
deviation would be 0, so that PyTorch refuses it; here the running statistics are used and not updated, as in
evaluation.

State-dict names are torchvision's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network, is_recorded
from skipway.models.segmentation.base import initialise_head
from skipway.models.segmentation.fcn import DilatedSegmenter

WIDTH = 256
DILATIONS = (12, 24, 36)


def convolution(c_in: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    """To WIDTH channels, with batch normalisation and a rectifier. (N, c_in, h, w) -> (N, WIDTH, h, w)."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(c_in, WIDTH, kernel, padding=padding, dilation=dilation, bias=False)
    return [layer, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]


class PooledBranch(nn.Sequential):
    """The mean of all pixels through a 1x1 convolution, at every pixel. (N, c_in, h, w) -> (N, WIDTH, h, w)."""

    def __init__(self, c_in: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *convolution(c_in, 1))

    def forward(self, x: Tensor) -> Tensor:
        pool, layer, norm, rectifier = self
        pooled = layer(pool(x))
        # Not where batch normalisation is over the images of several processes, which have several values
        if self.training and not is_recorded(x) and len(x) == 1 and type(norm) is nn.BatchNorm2d:
            pooled = F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            pooled = norm(pooled)
        height, width = x.shape[-2:]
        return rectifier(pooled).expand(-1, -1, height, width)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: five branches, concatenated (Fig. 5). (N, c_in, h, w) -> (N, WIDTH, h, w)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        dilated = [nn.Sequential(*convolution(c_in, 3, dilation)) for dilation in DILATIONS]
        self.convs = nn.ModuleList([nn.Sequential(*convolution(c_in, 1)), *dilated, PooledBranch(c_in)])
        self.project = nn.Sequential(*convolution(len(self.convs) * WIDTH, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class DeepLabHead(nn.Sequential):
    """`ASPP`, a 3x3 convolution, and scores. (N, c_in, h, w) -> (N, classes, h, w)."""

    def __init__(self, c_in: int, classes: int) -> None:
        scores = nn.Conv2d(WIDTH, classes, 1)
        super().__init__(ASPP(c_in), *convolution(WIDTH, 3), scores)
        initialise_head(self, scores)


def deeplabv3(body: Network, classes: int) -> DilatedSegmenter:
    return DilatedSegmenter(body, DeepLabHead(body.channels[-1], classes), classes)
