"""Weights into a network: by name and shape, and what differs said whole."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.errors import SkipwayError
from skipway.models.contract import Network

COUNTS = "num_batches_tracked"  # which files older than PyTorch 0.4 do not have, and which no result depends on


def first_names(names: Iterable[str]) -> str:
    """The first three of `names`, as words."""
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass(frozen=True)
class Mismatch:
    """What keeps weights from a network: names it needs, names it does not know, and (name, theirs, ours) shapes."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def sentence(self) -> str:
        """The three counts, each with the first names."""

        def some(names: list[str]) -> str:
            return f" ({first_names(names)})" if names else ""

        wrong = [name for name, _, _ in self.misshapen]
        return (
            f"{len(self.missing)} missing{some(list(self.missing))}, "
            f"{len(self.unexpected)} unexpected{some(list(self.unexpected))}, "
            f"{len(wrong)} of another shape{some(wrong)}"
        )

    def rows(self) -> list[dict[str, str]]:
        """A row for each entry, for a table."""

        def shape(sides: tuple[int, ...]) -> str:
            return "x".join(map(str, sides)) or "scalar"

        return [
            *({"what": "missing", "name": name, "file": "", "network": ""} for name in self.missing),
            *({"what": "unexpected", "name": name, "file": "", "network": ""} for name in self.unexpected),
            *(
                {"what": "other shape", "name": name, "file": shape(theirs), "network": shape(ours)}
                for name, theirs, ours in self.misshapen
            ),
        ]


class MismatchError(SkipwayError):
    """Weights of another network; `mismatch` holds every entry that differs."""

    def __init__(self, name: str, mismatch: Mismatch) -> None:
        self.mismatch = mismatch
        super().__init__(
            f"the weights do not fit {name}: {mismatch.sentence()}; choose another model, or see all of it with "
            f"`skipway weights verify FILE --model {name}`"
        )


def compare(net: Network, weights: dict[str, Tensor]) -> Mismatch:
    """What of `weights` does not fit `net`, heads included; auxiliary classifiers may be absent."""
    own = net.state_dict()
    optional = absent_judges(net, weights)
    missing = [k for k in own if k not in weights and not k.endswith(COUNTS) and not k.startswith(optional)]
    shapes = ((k, tuple(v.shape), tuple(own[k].shape)) for k, v in weights.items() if k in own)
    return Mismatch(
        missing=tuple(missing),
        unexpected=tuple(k for k in weights if k not in own),
        misshapen=tuple(entry for entry in shapes if entry[1] != entry[2]),
    )


def absent_judges(net: Network, weights: dict[str, Tensor]) -> tuple[str, ...]:
    """How the names of auxiliary classifiers begin that `weights` have nothing of: many files leave them out."""
    judges = {f"{name.split('.')[0]}." for name in net.heads[1:]}
    return tuple(judge for judge in sorted(judges) if not any(key.startswith(judge) for key in weights))


def adapt_first(weights: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """`weights` with the first convolution made for as many channels as `net`'s images have; as they are if it fits.

    One channel: the sum over the file's planes, so that a grey image answers as its planes repeated would. More: the
    planes in turn, scaled by file's over image's channels, so that responses keep their size.
    """
    key = f"{net.first}.weight"
    kernel, own = weights.get(key), net.state_dict()[key]
    if kernel is None or kernel.dim() != 4 or own.shape[1] == kernel.shape[1]:
        return weights
    theirs, ours = kernel.shape[1], own.shape[1]
    if ours == 1:
        return {**weights, key: kernel.sum(1, keepdim=True)}
    turn = torch.arange(ours) % theirs
    return {**weights, key: kernel[:, turn] * (theirs / ours)}


def head_fits(net: Network, weights: dict[str, Tensor], head: str) -> bool:
    """Whether `weights` hold all of the classifier `head` of `net`, with its number of classes."""
    own = {key: value for key, value in net.state_dict().items() if key.startswith(f"{head}.")}
    return all(key in weights and weights[key].shape == value.shape for key, value in own.items())


def strangers(net: Network, weights: dict[str, Tensor]) -> list[str]:
    """The names in `weights` that are in no part of `net` but perhaps its classifiers: another head, a projector, a
    queue. A name within another part, such as a unit more, says that the weights are of another network."""
    own, heads = net.state_dict(), tuple(f"{head}." for head in net.heads)
    body = {key.split(".")[0] for key in own if not key.startswith(heads)}
    return [k for k in weights if k not in own and (k.split(".")[0] not in body or k.startswith(heads))]


def without_strangers(net: Network, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """`weights` without what has no part in `net`, and those names, where all of `net` is in the rest; otherwise
    `weights` as they are."""
    names = set(strangers(net, weights))
    rest = {key: value for key, value in weights.items() if key not in names}
    return (weights, []) if compare(net, rest) else (rest, sorted(names))


def load_all_but_head(net: Network, weights: dict[str, Tensor], name: str) -> list[str]:
    """Load `weights` into `net`; a classifier that they lack, or have for other classes, stays fresh.

    Returns the names in `weights` that were left out: such classifiers, and what has no part in `net`. Auxiliary
    classifiers may be absent. Raises MismatchError when anything else is missing, unexpected or of another shape; the
    network is then untouched.
    """
    own = net.state_dict()
    absent = absent_judges(net, weights)
    heads = [head for head in net.heads if not f"{head}.".startswith(absent)]
    fresh = tuple(f"{head}." for head in heads if not head_fits(net, weights, head))
    outside = set(strangers(net, weights))
    other = [key for key in weights if key in outside or key.startswith(fresh)]
    kept = {key: value for key, value in weights.items() if key not in other}
    standing_in = {key: value for key, value in own.items() if key.startswith(fresh)}
    if compare(net, {**kept, **standing_in}):
        raise MismatchError(name, compare(net, {**weights, **standing_in}))
    net.load_state_dict(kept, strict=False)
    return other
