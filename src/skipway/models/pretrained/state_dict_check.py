"""Compare a state dict with a network by name and shape, and load it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.errors import SkipwayError
from skipway.models.base import Network

COUNTS = "num_batches_tracked"  # missing in files older than PyTorch 0.4; outputs do not depend on it


def first_names(names: Iterable[str]) -> str:
    """The first three of `names`, joined by commas."""
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass(frozen=True)
class Mismatch:
    """The differences: missing names, unexpected names, and (name, shape in the file, shape in the network)."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def summary(self) -> str:
        """The three counts, each with the first names."""

        def format_names(names: list[str]) -> str:
            return f" ({first_names(names)})" if names else ""

        misshapen = [name for name, _, _ in self.misshapen]
        return (
            f"{len(self.missing)} missing{format_names(list(self.missing))}, "
            f"{len(self.unexpected)} unexpected{format_names(list(self.unexpected))}, "
            f"{len(misshapen)} with another shape{format_names(misshapen)}"
        )

    def rows(self) -> list[dict[str, str]]:
        """A table with a row for each difference."""

        def format_shape(sides: tuple[int, ...]) -> str:
            return "x".join(map(str, sides)) or "scalar"

        return [
            *({"what": "missing", "name": name, "file": "", "network": ""} for name in self.missing),
            *({"what": "unexpected", "name": name, "file": "", "network": ""} for name in self.unexpected),
            *(
                {"what": "other shape", "name": name, "file": format_shape(theirs), "network": format_shape(ours)}
                for name, theirs, ours in self.misshapen
            ),
        ]


class MismatchError(SkipwayError):
    """Weights of another network; `mismatch` has all differences."""

    def __init__(self, name: str, mismatch: Mismatch) -> None:
        self.mismatch = mismatch
        super().__init__(
            f"the weights do not fit {name}: {mismatch.summary()}; choose another model, or list all differences with "
            f"`skipway weights verify FILE --model {name}`"
        )


def compare(net: Network, weights: dict[str, Tensor]) -> Mismatch:
    """The differences between `weights` and `net`, including heads; auxiliary classifiers may be missing."""
    own = net.state_dict()
    optional = missing_auxiliary(net, weights)
    missing = [k for k in own if k not in weights and not k.endswith(COUNTS) and not k.startswith(optional)]
    shapes = ((k, tuple(v.shape), tuple(own[k].shape)) for k, v in weights.items() if k in own)
    return Mismatch(
        missing=tuple(missing),
        unexpected=tuple(k for k in weights if k not in own),
        misshapen=tuple(entry for entry in shapes if entry[1] != entry[2]),
    )


def missing_auxiliary(net: Network, weights: dict[str, Tensor]) -> tuple[str, ...]:
    """Name prefixes of the auxiliary classifiers that are not in `weights`: many files do not include them."""
    prefixes = {f"{name.split('.')[0]}." for name in net.heads[1:]} - {
        f"{name.split('.')[0]}." for name in net.heads[:1]
    }
    return tuple(prefix for prefix in sorted(prefixes) if not any(key.startswith(prefix) for key in weights))


def adapt_first(weights: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """`weights` with the first convolution adapted to the number of input channels of `net`; unchanged if it fits.

    One channel: the sum over the file's channels, which equals repeating a grey image. More: the file's channels
    repeated cyclically, scaled by file channels over image channels, so that activations keep their scale.
    """
    key = f"{net.first}.weight"
    kernel, own = weights.get(key), net.state_dict()[key]
    if kernel is None or kernel.dim() != 4 or own.shape[1] == kernel.shape[1]:
        return weights
    theirs, ours = kernel.shape[1], own.shape[1]
    if ours == 1:
        return {**weights, key: kernel.sum(1, keepdim=True)}
    cycle = torch.arange(ours) % theirs
    return {**weights, key: kernel[:, cycle] * (theirs / ours)}


def head_fits(net: Network, weights: dict[str, Tensor], head: str) -> bool:
    """Whether `weights` contain the classifier `head` of `net`, with the same number of classes."""
    own = {key: value for key, value in net.state_dict().items() if key.startswith(f"{head}.")}
    return all(key in weights and weights[key].shape == value.shape for key, value in own.items())


def unexpected_names(net: Network, weights: dict[str, Tensor]) -> list[str]:
    """The names in `weights` outside the parts of `net`, or in its classifiers: another head, a projector, a queue.
    An unknown name within another part, such as an extra unit, is not listed: it means a different network."""
    own, heads = net.state_dict(), tuple(f"{head}." for head in net.heads)
    body = {key.split(".")[0] for key in own if not key.startswith(heads)}
    return [k for k in weights if k not in own and (k.split(".")[0] not in body or k.startswith(heads))]


def without_unexpected(net: Network, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """`weights` without the `unexpected_names`, and these names, if the rest matches `net`; otherwise `weights`
    unchanged."""
    names = set(unexpected_names(net, weights))
    rest = {key: value for key, value in weights.items() if key not in names}
    return (weights, []) if compare(net, rest) else (rest, sorted(names))


def load_all_but_head(net: Network, weights: dict[str, Tensor], name: str) -> list[str]:
    """Load `weights` into `net`; a classifier that is missing or has other classes keeps its initialisation.

    Returns the names in `weights` that were not loaded: such classifiers, and the `unexpected_names`. Auxiliary
    classifiers may be missing. Raises MismatchError if anything else is missing, unexpected or has another shape; the
    network is then unchanged.
    """
    own = net.state_dict()
    absent = missing_auxiliary(net, weights)
    heads = [head for head in net.heads if not f"{head}.".startswith(absent)]
    fresh = tuple(f"{head}." for head in heads if not head_fits(net, weights, head))
    unexpected = set(unexpected_names(net, weights))
    skipped = [key for key in weights if key in unexpected or key.startswith(fresh)]
    loaded = {key: value for key, value in weights.items() if key not in skipped}
    placeholders = {key: value for key, value in own.items() if key.startswith(fresh)}
    if compare(net, {**loaded, **placeholders}):
        raise MismatchError(name, compare(net, {**weights, **placeholders}))
    net.load_state_dict(loaded, strict=False)
    return skipped
