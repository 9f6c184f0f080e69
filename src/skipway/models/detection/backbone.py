"""Feature pyramids on any network with maps of several strides.

Lin, Dollár, Girshick, He, Hariharan, Belongie: Feature Pyramid Networks for Object Detection. CVPR 2017,
arXiv:1612.03144.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from skipway.errors import SkipwayError
from skipway.models.base import Network, without_classifier
from skipway.models.detection.base import Backbone

Norm = Callable[[int], nn.Module]


def places_of(strides: Sequence[int], body: Network) -> list[int]:
    """The places of the maps with `strides` among those of `body`. Raises SkipwayError if it lacks one."""
    if missing := [stride for stride in strides if stride not in body.strides]:
        raise SkipwayError(
            f"the network has maps of strides {body.strides}, but this detector needs {missing[0]}: choose another body"
        )
    return [body.strides.index(stride) for stride in strides]


class Pyramid(Backbone):
    """The maps of `body` with `strides`, in `width` channels each and with the coarser ones added, and further levels.

    Children: `body` and `fpn`, as in torchvision. `norm` builds the normalisations after the pyramid's convolutions.
    """

    def __init__(
        self,
        body: Network,
        strides: Sequence[int],
        width: int,
        extra: LastLevelP6P7 | LastLevelMaxPool,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.body = without_classifier(body)
        self.places = places_of(strides, body)
        self.fpn = FeaturePyramidNetwork([body.channels[place] for place in self.places], width, extra, norm)
        levels = 1 if isinstance(extra, LastLevelMaxPool) else 2
        self.strides = [*strides, *(strides[-1] * 2**i for i in range(1, levels + 1))]
        self.channels = [width] * len(self.strides)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) -> maps (N, width, H / stride, W / stride), rounded up, by name: "0", "1", ..."""
        maps = self.body.features(x)
        return self.fpn({str(i): maps[place] for i, place in enumerate(self.places)})


def dense_pyramid(body: Network, width: int, coarse_from_body: bool = False) -> Pyramid:
    """P3 to P7, at strides 8 to 128 (RetinaNet, sec. 4): P6 is a convolution of P5, or of the body's last map."""
    extra = LastLevelP6P7(body.channels[-1] if coarse_from_body else width, width)
    extra.use_P5 = not coarse_from_body  # torchvision's is a comparison of the channels, which may happen to be equal
    return Pyramid(body, (8, 16, 32), width, extra)


def region_pyramid(body: Network, width: int, norm: Norm | None = None) -> Pyramid:
    """P2 to P6, at strides 4 to 64 (FPN, sec. 4): P6 is every second pixel of P5, for proposals alone."""
    return Pyramid(body, (4, 8, 16, 32), width, LastLevelMaxPool(), norm)
