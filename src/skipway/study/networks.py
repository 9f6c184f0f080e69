"""Networks that only studies ask for: those of the papers with a part left out, or with the stem of larger images.

They are known by name while a study works, so that a recipe can name them, and `skipway list` does not show them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from skipway import models
from skipway.models import preresnet, resnet
from skipway.models.contract import Network
from skipway.study.family_nets import NETWORKS as FAMILIES
from skipway.study.small_vgg import vgg14
from skipway.study.twins import TWINS


class Copied(nn.Module):
    """In the place of a normalisation, whose output a network may overwrite: the same values elsewhere in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def without_norm(build: Callable[..., Network]) -> Callable[..., Network]:
    """`build`, every batch normalisation of whose network is left out."""

    def bare(classes: int = 10, channels: int = 3, stem: str = "small") -> Network:
        net = build(classes=classes, channels=channels, stem=stem)
        for name, module in list(net.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                net.set_submodule(name, Copied())
        return net

    return bare


def as_for_imagenet(build: Callable[..., Network], shortcut: str = "") -> Callable[..., Network]:
    """`build` with the stem for large images whatever their size, and with shortcuts of the option named."""
    options = {"shortcut": shortcut} if shortcut else {}

    def built(classes: int = 1000, channels: int = 3) -> Network:
        return build(classes=classes, channels=channels, stem="imagenet", **options)

    return built


NETWORKS: dict[str, Callable[..., Network]] = {
    **{f"{name}_bare": without_norm(resnet.NETWORKS[name]) for name in ("plain20", "plain56", "resnet20", "resnet56")},
    **{f"plain{layers}_imagenet": as_for_imagenet(resnet.NETWORKS[f"plain{layers}"]) for layers in (18, 34)},
    **{f"resnet{layers}_imagenet": as_for_imagenet(resnet.NETWORKS[f"resnet{layers}"], "A") for layers in (18, 34)},
    "preresnet20_bare": without_norm(preresnet.NETWORKS["preresnet20"]),
    "vgg14": vgg14,
    **TWINS,
    **FAMILIES,
}


@contextmanager
def with_study_networks() -> Iterator[None]:
    """The networks of this file are found by name until the end of the block."""
    new = {name: build for name, build in NETWORKS.items() if name not in models.NETWORKS}
    models.NETWORKS.update(new)
    try:
        yield
    finally:
        for name in new:
            del models.NETWORKS[name]
