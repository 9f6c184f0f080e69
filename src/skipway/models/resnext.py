"""ResNeXt: bottlenecks with a grouped 3x3 convolution; the number of groups is the cardinality.

Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks. CVPR 2017,
arXiv:1611.05431.

Differences from the paper: the classifier is initialised as in resnet.py. The paths are computed by one grouped
convolution, the third of the three equivalent forms (Fig. 3c). State-dict names are torchvision's.
"""

from collections.abc import Callable
from functools import partial

from skipway.models.resnet import SHORTCUTS, STEMS, Bottleneck, ResNet, Unit, imagenet

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def bottleneck(cardinality: int, base: int) -> Unit:
    """A bottleneck of `cardinality` paths, each `base` channels wide at a unit width of 64, and in proportion."""
    return partial(Bottleneck, inner=lambda width: cardinality * (base * width // 64), groups=cardinality)


# ---------------------------------------------------------------------------------------------------------------------
# Table


def cifar(cardinality: int, base: int) -> Callable[..., ResNet]:
    """Sec. 5.3: 29 layers in three stages from 64 channels; option B shortcuts by default."""

    def build(classes: int = 10, channels: int = 3, stem: str = "small", shortcut: str = "B") -> ResNet:
        unit = bottleneck(cardinality, base)
        return ResNet(unit, 4, (3, 3, 3), 64, SHORTCUTS[shortcut], STEMS[stem], classes, channels)

    return build


NETWORKS: dict[str, Callable[..., ResNet]] = {
    "resnext50_32x4d": imagenet(bottleneck(32, 4), 4, (3, 4, 6, 3)),
    "resnext101_32x8d": imagenet(bottleneck(32, 8), 4, (3, 4, 23, 3)),
    "resnext101_64x4d": imagenet(bottleneck(64, 4), 4, (3, 4, 23, 3)),
    "resnext29_8x64d": cifar(8, 64),
    "resnext29_16x64d": cifar(16, 64),
}
