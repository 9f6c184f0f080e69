"""Squeeze-and-excitation: each channel of a branch is scaled by a factor computed from its global average.

Hu, Shen, Sun: Squeeze-and-Excitation Networks. CVPR 2018, arXiv:1709.01507.

Differences from the paper:
- The two fully connected layers are 1x1 convolutions with biases: the same computation without reshaping.
- 18 and 34 layers are not in the paper; there the module follows the second convolution.
- The bottlenecks stride in the 3x3, as timm's weights do; the authors' stride in the first 1x1.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.resnet import Basic, Bottleneck, ResNet, imagenet

# ---------------------------------------------------------------------------------------------------------------------
# Parts


class SqueezeExcitation(nn.Module):
    """Global mean, bottleneck of `channels / reduction`, sigmoid: one factor per channel (Fig. 2). Shape unchanged."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        factors = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)), inplace=True))
        return x * factors.sigmoid()


# ---------------------------------------------------------------------------------------------------------------------
# Table

basic = partial(Basic, refine=SqueezeExcitation)
bottleneck = partial(Bottleneck, refine=SqueezeExcitation)

NETWORKS: dict[str, Callable[..., ResNet]] = {
    "seresnet18": imagenet(basic, 1, (2, 2, 2, 2)),
    "seresnet34": imagenet(basic, 1, (3, 4, 6, 3)),
    "seresnet50": imagenet(bottleneck, 4, (3, 4, 6, 3)),
    "seresnet101": imagenet(bottleneck, 4, (3, 4, 23, 3)),
    "seresnet152": imagenet(bottleneck, 4, (3, 8, 36, 3)),
}
