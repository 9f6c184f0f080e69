"""Prefixes that trainers put before a network's own names, found by what fits.

A network that is part of a larger module has its names behind the part's: `backbone.conv1.weight`. The right prefix is
the one without which the most names, with their shapes, are those of the network.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.models.translate import translated

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Match:
    """Tensors under our names. prefix: what was taken off the file's; wrapped: wrappers were taken off besides;
    translation: what else was changed, in words; unused: the names of the file that do not have the prefix; fit: how
    many have a name and shape of the network, and how many a name."""

    tensors: dict[str, Tensor]
    prefix: str
    wrapped: bool
    translation: str
    unused: tuple[str, ...]
    fit: tuple[int, int]


def without_wrappers(name: str) -> str:
    """A tensor's name without what the compiler (anywhere) and parallel trainers (in front) put into it."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        parts.pop(0)
    return ".".join(parts)


def prefixes(name: str) -> Iterator[str]:
    """`a.b.c` -> `a.`, `a.b.`"""
    parts = name.split(".")
    yield from (".".join(parts[:depth]) + "." for depth in range(1, len(parts)))


def candidates(names: Iterable[str], least: int) -> list[str]:
    """No prefix, and every one that at least `least` names have, in the order of the names."""
    shared = Counter(prefix for name in names for prefix in prefixes(name))
    return ["", *(prefix for prefix, number in shared.items() if number >= least)]


def match(tensors: Mapping[str, Tensor], prefix: str, own: Shapes) -> Match:
    """`tensors` that have `prefix`, in our names, and how well they fit a network of the tensors `own`."""
    names: dict[str, str] = {}  # the network's own, and the file's
    for key in tensors:
        if key.startswith(prefix):
            names.setdefault(without_wrappers(key.removeprefix(prefix)), key)
    ours, translation = translated({name: tensors[key] for name, key in names.items()})
    shapes = [value.shape == own[key] for key, value in ours.items() if key in own]
    used = set(names.values())
    unused = tuple(key for key in tensors if key not in used)
    wrapped = any(key != prefix + name for name, key in names.items())
    return Match(ours, prefix, wrapped, translation, unused, (sum(shapes), len(shapes)))


def best_match(tensors: Mapping[str, Tensor], own: Shapes) -> Match:
    """`tensors` without the prefix that makes them fit a network of the tensors `own` best; the first of equals."""
    least = max(min(len(own) // 2, len(tensors) // 4), 1)  # of several networks in a file, each has its share
    best = match(tensors, "", own)
    for prefix in candidates(tensors, least)[1:]:
        found = match(tensors, prefix, own)
        wrapped = found.fit == best.fit != (0, 0) and prefix.startswith(best.prefix)  # then `module.` or the like
        if found.fit > best.fit or wrapped:
            best = found
    return best
