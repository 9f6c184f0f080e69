"""Every network by name: `create(name, ...)` builds one, `list_models(pattern)` lists them.

The interface of networks is defined in base.py.
"""

import inspect
from collections.abc import Callable, Mapping

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
from skipway.models.activation_checkpointing import recompute_stages
from skipway.models.base import Network

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

UNLISTED: dict[str, Callable[..., Network]] = {}  # networks added by `register`: known by name, but not listed

SMALL = 64  # pixels; up to this size an ImageNet stem would leave a last map of two pixels or fewer


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern` or contain it, ordered by paper."""
    return matching(NETWORKS, pattern)


def register(networks: Mapping[str, Callable[..., Network]]) -> None:
    """Register `networks` by name without listing them. Raises SkipwayError if a name is taken by another network."""
    for name, build in networks.items():
        if name in NETWORKS or UNLISTED.get(name, build) is not build:
            raise SkipwayError(f"a network called {name} already exists: choose another name")
    UNLISTED.update(networks)


def is_known(name: str) -> bool:
    """Whether a network called `name` exists, listed or not."""
    return name in NETWORKS or name in UNLISTED


def builder(name: str) -> Callable[..., Network]:
    """The function that builds the network called `name`. Raises UnknownNameError."""
    require_name(name)
    return NETWORKS.get(name) or UNLISTED[name]


def require_name(name: str) -> None:
    """Raises UnknownNameError, with the closest name, if there is no such network."""
    if not is_known(name):
        raise UnknownNameError("model", name, NETWORKS, "`skipway list` shows all names")


def create(
    name: str,
    classes: int | None = None,
    channels: int = 3,
    stem: str | None = None,
    shortcut: str | None = None,
) -> Network:
    """The network called `name`, initialised using the global random state.

    `classes`, `stem` ("imagenet" or "small") and `shortcut` ("A", "B" or "C") are the paper's if None; `channels` is
    the number of image channels. Raises SkipwayError for an unknown name or an option out of range.
    """
    require_name(name)
    if classes is not None and classes < 1:
        raise SkipwayError(f"{name} with {classes} classes: at least 1 is needed")
    if channels < 1:
        raise SkipwayError(f"{name} with {channels} input channels: at least 1 is needed")
    for option, value, known in (("stem", stem, resnet.STEMS), ("shortcut", shortcut, resnet.SHORTCUTS)):
        if value is not None and value not in known:
            raise UnknownNameError(option, value, known, f"one of {', '.join(known)}")
    options = {"classes": classes, "channels": channels, "stem": stem, "shortcut": shortcut}
    given = {key: value for key, value in options.items() if value is not None}
    unsupported = set(given) - options_of(name)
    if unsupported:
        raise SkipwayError(f"{name} has no option {' or '.join(sorted(unsupported))}: leave it out")
    return builder(name)(**given)


def options_of(name: str) -> set[str]:
    """The options of a network: classes, channels, and for some stem or shortcut."""
    return set(inspect.signature(builder(name)).parameters)


def recompute(net: Network) -> bool:
    """Enable activation checkpointing in `net`; returns False if it does not support it."""
    return net.save_memory() or recompute_stages(net)


def stem_for(size: int) -> str:
    """The stem for images of `size` x `size` pixels."""
    return "small" if size <= SMALL else "imagenet"


def require_size(name: str, net: Network, size: int) -> None:
    """Raises SkipwayError if images of `size` pixels leave less than one pixel in the last map."""
    if size < net.smallest:
        raise SkipwayError(
            f"images of {size} pixels are too small for {name}: the smallest is {net.smallest}; give a larger --size"
        )
