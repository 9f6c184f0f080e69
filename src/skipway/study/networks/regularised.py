"""Networks of other papers' regularisers and widths, at the sizes of He 2015 for CIFAR.

- Squeeze-and-excitation in networks of 32 and 110 layers: Hu 2018 (arXiv:1709.01507), secs. 3 and 5.1.
- A wide network of 16 layers, and dropout between the convolutions of a unit: Zagoruyko 2016 (arXiv:1605.07146),
  secs. 2 and 3.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from skipway.models.base import Network
from skipway.models.resnet import cifar
from skipway.models.senet import basic
from skipway.models.wide_resnet import Wide, wide

DROPOUT = 0.3  # Zagoruyko 2016, sec. 3: on CIFAR


def dropout(channels: int) -> nn.Module:
    """Dropout of single values, for the place between two convolutions of `channels` channels."""
    return nn.Dropout(DROPOUT)


NETWORKS: dict[str, Callable[..., Network]] = {
    **{f"seresnet{6 * n + 2}": cifar(basic, n) for n in (5, 18)},
    "wrn16_2": wide(16, 2),
    "wrn16_2_dropout": wide(16, 2, partial(Wide, between=dropout)),
    "wrn40_4_dropout": wide(40, 4, partial(Wide, between=dropout)),
}
