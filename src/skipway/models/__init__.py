"""Every network by name: `build(name, ...)` makes one, `list_models(pattern)` lists them.

A network is an `nn.Module` with `forward(x) -> (N, classes)`, `features(x) -> maps, finest first`, and the lists
`channels` and `strides` that describe those maps.
"""

import fnmatch
import inspect
from collections.abc import Callable

from torch import nn

from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import resnet

NETWORKS: dict[str, Callable[..., nn.Module]] = {**resnet.NETWORKS}

SMALL = 64  # pixels; up to this side an ImageNet stem would leave a map of two pixels or fewer


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell `pattern`, or contain it, in the papers' order."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in NETWORKS if fnmatch.fnmatch(name, wanted)]


def require_name(name: str) -> None:
    """Raises UnknownNameError, with the nearest name, when there is no such network."""
    if name not in NETWORKS:
        raise UnknownNameError("model", name, NETWORKS, "`skipway list` names all of them")


def build(
    name: str, classes: int | None = None, channels: int = 3, stem: str | None = None, shortcut: str | None = None
) -> nn.Module:
    """The network called `name`, freshly initialised by the global random state.

    `classes`, `stem` ("imagenet" or "small") and `shortcut` ("A", "B" or "C") are the paper's when None; `channels`
    counts the image's. Raises SkipwayError for an unknown name or an option out of range.
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
    strange = set(given) - set(inspect.signature(NETWORKS[name]).parameters)
    if strange:
        raise SkipwayError(f"{name} has no {' and no '.join(sorted(strange))} to choose: leave it out")
    return NETWORKS[name](**given)


def stem_for(size: int) -> str:
    """The stem for images of `size` pixels a side."""
    return "small" if size <= SMALL else "imagenet"


def smallest_input(net: nn.Module) -> int:
    """Pixels a side that leave one pixel in the last map."""
    return int(net.strides[-1])  # type: ignore[index]


def require_size(name: str, net: nn.Module, size: int) -> None:
    """Raises SkipwayError when images of `size` pixels a side leave less than one pixel in the last map."""
    if size < smallest_input(net):
        raise SkipwayError(
            f"images of {size} pixels are too small for {name}: the smallest is {smallest_input(net)}; "
            "give a larger --size"
        )
