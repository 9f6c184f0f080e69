"""ResNet-D: three 3x3 convolutions as the stem, and average pooling before the shortcuts' projections.

He, Zhang, Zhang, Zhang, Xie, Li: Bag of Tricks for Image Classification with Convolutional Neural Networks. CVPR 2019,
arXiv:1812.01187, sec. 4.

Differences from the paper:
- The paper has 50 layers (and others, up to 152); 18, 34 and 200 are timm's. timm's weights load into all of these.
- `resnet18d_x0_5` has half the channels of `resnet18d`: the network of the embedded weights.
- Maps of odd sides are averaged as in timm: padding does not count at the last column and row.

The paper's B (stride in the 3x3) and C (the stem) are part of its D.
"""

from collections.abc import Callable, Sequence

from torch import nn

from skipway.models.resnet import Basic, Bottleneck, ResNet, Stem, Unit, conv1x1, conv3x3, small_stem

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def deep_stem(channels: int, width: int) -> tuple[nn.Module, nn.Module, int]:
    """Three 3x3 convolutions, the first with stride 2 (Fig. 2b), then 3x3 max pooling."""
    half = width // 2
    convolutions = nn.Sequential(
        conv3x3(channels, half, 2),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        conv3x3(half, half),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        conv3x3(half, width),
    )
    return convolutions, nn.MaxPool2d(3, 2, padding=1), 4


def averaged_projection(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Identity; where the shape changes, 2x2 average pooling, then a 1x1 convolution (Fig. 2c)."""
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, conv1x1(c_in, c_out), nn.BatchNorm2d(c_out))


# ---------------------------------------------------------------------------------------------------------------------
# Table
STEMS: dict[str, Stem] = {"imagenet": deep_stem, "small": small_stem}


def variant_d(unit: Unit, expansion: int, depths: Sequence[int], width: int = 64) -> Callable[..., ResNet]:
    """Four stages from `width` channels with the deep stem and averaged projections."""

    def build(classes: int = 1000, channels: int = 3, stem: str = "imagenet") -> ResNet:
        return ResNet(unit, expansion, depths, width, averaged_projection, STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., ResNet]] = {
    "resnet18d": variant_d(Basic, 1, (2, 2, 2, 2)),
    "resnet34d": variant_d(Basic, 1, (3, 4, 6, 3)),
    "resnet50d": variant_d(Bottleneck, 4, (3, 4, 6, 3)),
    "resnet101d": variant_d(Bottleneck, 4, (3, 4, 23, 3)),
    "resnet152d": variant_d(Bottleneck, 4, (3, 8, 36, 3)),
    "resnet200d": variant_d(Bottleneck, 4, (3, 24, 36, 3)),
    "resnet18d_x0_5": variant_d(Basic, 1, (2, 2, 2, 2), width=32),
}
