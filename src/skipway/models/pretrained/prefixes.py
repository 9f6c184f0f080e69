"""Find and remove the prefixes that training code adds to a network's parameter names.

A network that is part of a larger module has the part's name as a prefix: `backbone.conv1.weight`. The correct prefix
is the one whose removal makes most names and shapes match the network.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.models.pretrained.convert import translate

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Match:
    """Tensors under our names. prefix: removed from the file's names; wrapped: whether wrapper names were removed too;
    translation: description of any other conversion; unused: names of the file without the prefix; fit: the number of
    tensors that match the network by name and shape, and by name."""

    tensors: dict[str, Tensor]
    prefix: str
    wrapped: bool
    translation: str
    unused: tuple[str, ...]
    fit: tuple[int, int]


def without_wrappers(name: str) -> str:
    """A tensor's name without the parts added by torch.compile (anywhere) and parallel wrappers (at the start)."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        parts.pop(0)
    return ".".join(parts)


def prefixes(name: str) -> Iterator[str]:
    """`a.b.c` -> `a.`, `a.b.`"""
    parts = name.split(".")
    yield from (".".join(parts[:depth]) + "." for depth in range(1, len(parts)))


def candidates(names: Iterable[str], least: int) -> list[str]:
    """The empty prefix, and every prefix of at least `least` names, in the order of the names."""
    shared = Counter(prefix for name in names for prefix in prefixes(name))
    return ["", *(prefix for prefix, number in shared.items() if number >= least)]


def match(tensors: Mapping[str, Tensor], prefix: str, own: Shapes) -> Match:
    """The `tensors` with `prefix`, under our names, and how well they match a network with the tensors `own`."""
    names: dict[str, str] = {}  # name in the network -> name in the file
    for key in tensors:
        if key.startswith(prefix):
            names.setdefault(without_wrappers(key.removeprefix(prefix)), key)
    ours, translation = translate({name: tensors[key] for name, key in names.items()})
    shapes = [value.shape == own[key] for key, value in ours.items() if key in own]
    used = set(names.values())
    unused = tuple(key for key in tensors if key not in used)
    wrapped = any(key != prefix + name for name, key in names.items())
    return Match(ours, prefix, wrapped, translation, unused, (sum(shapes), len(shapes)))


def best_match(tensors: Mapping[str, Tensor], own: Shapes) -> Match:
    """The match with the prefix that fits a network with the tensors `own` best; the first of equal matches."""
    least = max(min(len(own) // 2, len(tensors) // 4), 1)  # a file may contain several networks
    best = match(tensors, "", own)
    for prefix in candidates(tensors, least)[1:]:
        found = match(tensors, prefix, own)
        wrapped = found.fit == best.fit != (0, 0) and prefix.startswith(best.prefix)  # `module.` or similar
        if found.fit > best.fit or wrapped:
            best = found
    return best
