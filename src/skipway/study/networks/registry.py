"""Registry of networks used only by studies.

Networks of 8 layers, without batch normalisation, with the ImageNet stem, and shallower variants of others.

`register_study_networks` registers them by name.
"""

from collections.abc import Callable

from torch import Tensor, nn

from skipway import models
from skipway.models import preresnet, resnet
from skipway.models.base import Network
from skipway.study.networks.cifar_families import NETWORKS as FAMILIES
from skipway.study.networks.cifar_vgg import vgg14
from skipway.study.networks.preresnet_variants import VARIANTS
from skipway.study.networks.regularised import NETWORKS as REGULARISED


class Copy(nn.Module):
    """Replaces a normalisation by a copy, since the network may overwrite the output in place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def without_norm(build: Callable[..., Network]) -> Callable[..., Network]:
    """`build` without the network's batch normalisation layers."""

    def bare(classes: int = 10, channels: int = 3, stem: str = "small") -> Network:
        net = build(classes=classes, channels=channels, stem=stem)
        for name, module in list(net.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                net.set_submodule(name, Copy())
        return net

    return bare


def as_for_imagenet(build: Callable[..., Network], shortcut: str = "") -> Callable[..., Network]:
    """`build` with the ImageNet stem for any image size, and with the given shortcut option."""
    options = {"shortcut": shortcut} if shortcut else {}

    def built(classes: int = 1000, channels: int = 3) -> Network:
        return build(classes=classes, channels=channels, stem="imagenet", **options)

    return built


# The networks of He 2015 for CIFAR with one unit per stage: shallow enough to learn without normalisation.
SHALLOWEST: dict[str, Callable[..., Network]] = {
    "plain8": resnet.plain_cifar(1),
    "resnet8": resnet.cifar(resnet.Basic, 1),
}
CIFAR = SHALLOWEST | {name: resnet.NETWORKS[name] for name in ("plain20", "resnet20", "plain56", "resnet56")}
NETWORKS: dict[str, Callable[..., Network]] = {
    **SHALLOWEST,
    **{f"{name}_bare": without_norm(build) for name, build in CIFAR.items()},
    **{f"plain{layers}_imagenet": as_for_imagenet(resnet.NETWORKS[f"plain{layers}"]) for layers in (18, 34)},
    **{f"resnet{layers}_imagenet": as_for_imagenet(resnet.NETWORKS[f"resnet{layers}"], "A") for layers in (18, 34)},
    "preresnet20_bare": without_norm(preresnet.NETWORKS["preresnet20"]),
    "vgg14": vgg14,
    **VARIANTS,
    **FAMILIES,
    **REGULARISED,
}


def register_study_networks() -> None:
    """Register the networks of this module by name for use in recipes. They are not listed by `list_models`."""
    models.register(NETWORKS)
