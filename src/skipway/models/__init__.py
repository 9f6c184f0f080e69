"""Every network by name: `build(name, ...)` makes one, `list_models(pattern)` lists them.

What a network offers is written in contract.py.
"""

import inspect
import os
from collections.abc import Callable

import torch

from skipway.errors import SkipwayError, UnknownNameError, matching
from skipway.models import (
    alexnet,
    blurpool,
    densenet,
    googlenet,
    highway,
    preresnet,
    resnet,
    resnetd,
    resnext,
    senet,
    vgg,
    wide_resnet,
)
from skipway.models.contract import Network
from skipway.models.recompute import recompute_stages

NETWORKS: dict[str, Callable[..., Network]] = {
    **resnet.NETWORKS,
    **resnetd.NETWORKS,
    **senet.NETWORKS,
    **blurpool.NETWORKS,
    **resnext.NETWORKS,
    **wide_resnet.NETWORKS,
    **densenet.NETWORKS,
    **vgg.NETWORKS,
    **googlenet.NETWORKS,
    **alexnet.NETWORKS,
    **preresnet.NETWORKS,
    **highway.NETWORKS,
}

SMALL = 64  # pixels; up to this side an ImageNet stem would leave a map of two pixels or fewer


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern`, or contain it, in the papers' order."""
    return matching(NETWORKS, pattern)


def require_name(name: str) -> None:
    """Raises UnknownNameError, with the nearest name, when there is no such network."""
    if name not in NETWORKS:
        raise UnknownNameError("model", name, NETWORKS, "`skipway list` names all of them")


def build(
    name: str,
    classes: int | None = None,
    channels: int = 3,
    stem: str | None = None,
    shortcut: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
) -> Network:
    """The network called `name`, freshly initialised by the global random state, or with `pretrained` weights.

    `classes`, `stem` ("imagenet" or "small") and `shortcut` ("A", "B" or "C") are the paper's when None; `channels`
    counts the image's. `pretrained` is what models.weights.locate takes: "tv_v2" or "resnet50.tv_v2", hf:owner/name, a
    file or a bundle; `classes` are then theirs when None, and any other number makes the classifier fresh. Raises
    SkipwayError for an unknown name or an option out of range.
    """
    require_name(name)
    if pretrained is not None:
        if not isinstance(pretrained, str | os.PathLike):
            raise SkipwayError(f"pretrained must name weights, not {pretrained}: `skipway weights list` names them")
        return build_pretrained(name, classes, channels, stem, shortcut, os.fspath(pretrained))
    if classes is not None and classes < 1:
        raise SkipwayError(f"{name} with {classes} classes: at least 1 is needed")
    if channels < 1:
        raise SkipwayError(f"{name} with {channels} input channels: at least 1 is needed")
    for option, value, known in (("stem", stem, resnet.STEMS), ("shortcut", shortcut, resnet.SHORTCUTS)):
        if value is not None and value not in known:
            raise UnknownNameError(option, value, known, f"one of {', '.join(known)}")
    options = {"classes": classes, "channels": channels, "stem": stem, "shortcut": shortcut}
    given = {key: value for key, value in options.items() if value is not None}
    strange = set(given) - options_of(name)
    if strange:
        raise SkipwayError(f"{name} has no {' and no '.join(sorted(strange))} to choose: leave it out")
    return NETWORKS[name](**given)


def build_pretrained(
    name: str, classes: int | None, channels: int, stem: str | None, shortcut: str | None, weights: str
) -> Network:
    """As `build`; the weights' own classes and stem unless they are given."""
    from skipway.models.weights import find, load  # torchvision's catalogue, which most networks do without

    pretrained = find(name, weights)
    own = pretrained.stem() if "stem" in options_of(name) else None
    with torch.device("meta"):
        classes = classes or pretrained.classes(build(name))
    net = build(name, classes, channels, stem or own, shortcut)
    load(net, pretrained, name)
    return net


def options_of(name: str) -> set[str]:
    """What of a network can be chosen: classes, channels, and for some stem or shortcut."""
    return set(inspect.signature(NETWORKS[name]).parameters)


def recompute(net: Network) -> bool:
    """Have `net` compute activations again in the backward pass; False where there is nothing that could be."""
    if isinstance(net, densenet.DenseNet):
        densenet.save_memory(net)
    else:
        recompute_stages(net)
    return isinstance(net, densenet.DenseNet) or bool(net.stages)


def stem_for(size: int) -> str:
    """The stem for images of `size` pixels a side."""
    return "small" if size <= SMALL else "imagenet"


def require_size(name: str, net: Network, size: int) -> None:
    """Raises SkipwayError when images of `size` pixels a side leave less than one pixel in the last map."""
    if size < net.smallest:
        raise SkipwayError(
            f"images of {size} pixels are too small for {name}: the smallest is {net.smallest}; give a larger --size"
        )
