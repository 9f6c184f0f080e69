"""ResNeXt: the bottleneck's 3x3 is cut into groups, and their number, the cardinality, is what grows.

Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks. CVPR 2017,
arXiv:1611.05431.

Departures from the paper: the classifier starts as in resnet.py. The paths are computed together by one grouped
convolution, the third of the three equal forms (Fig. 3c). State-dict names are torchvision's.
"""

from collections.abc import Callable
from functools import partial

from skipway.models.resnet import SHORTCUTS, STEMS, Bottleneck, ResNet, Unit, imagenet

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def bottleneck(cardinality: int, base: int) -> Unit:
    """A bottleneck of `cardinality` paths, `base` channels wide where the unit's width is 64, and in proportion."""
    return partial(Bottleneck, inner=lambda width: cardinality * (base * width // 64), groups=cardinality)


# ---------------------------------------------------------------------------------------------------------------------
# Table


def cifar(cardinality: int, base: int) -> Callable[..., ResNet]:
    """Sec. 5.3: 29 layers in three stages from 64 channels; option B shortcuts unless told otherwise."""

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
