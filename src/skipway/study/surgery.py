"""Units cut out of trained networks, put in each other's place, and gradients sent along single paths."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from skipway.models.contract import Network
from skipway.study.signals import cross_entropy, forward_and_backward, units_of, watched


class Bypass(nn.Module):
    """A unit without its branch: its shortcut, or where it has none its input."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.way: Callable[[Tensor], Tensor] = getattr(unit, "skip", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x)


def places(net: nn.Module) -> list[tuple[nn.Sequential, int]]:
    """Where each unit sits: its stage and its number there."""
    stages = [net.get_submodule(stage) for stage in getattr(net, "stages", ())]
    return [(stage, i) for stage in stages if isinstance(stage, nn.Sequential) for i in range(len(stage))]


def cuttable(net: Network, images: Tensor) -> list[int]:
    """The numbers of the units that can be bypassed: all with a shortcut, and others that keep the shape."""
    kept: dict[nn.Module, bool] = {}

    def note(unit: nn.Module, given: Tensor, out: Tensor) -> None:
        kept[unit] = hasattr(unit, "skip") or given.shape == out.shape

    units = units_of(net)
    with torch.inference_mode(), watched(units, note):
        net(images[:1])
    return [i for i, unit in enumerate(units) if kept[unit]]


@contextmanager
def cut(net: nn.Module, numbers: Sequence[int]) -> Iterator[None]:
    """`net` without these units until the end of the block."""
    spots = places(net)
    units = {number: spots[number][0][spots[number][1]] for number in numbers}
    for number, unit in units.items():
        stage, i = spots[number]
        stage[i] = Bypass(unit)
    try:
        yield
    finally:
        for number, unit in units.items():
            stage, i = spots[number]
            stage[i] = unit


@contextmanager
def swapped(net: nn.Module, pairs: Sequence[tuple[int, int]]) -> Iterator[None]:
    """`net` with the units of each pair in each other's place until the end of the block."""
    spots = places(net)

    def swap(a: int, b: int) -> None:
        (one, i), (other, j) = spots[a], spots[b]
        one[i], other[j] = other[j], one[i]

    for pair in pairs:
        swap(*pair)
    try:
        yield
    finally:
        for pair in reversed(pairs):
            swap(*pair)


def alike(net: Network) -> list[list[int]]:
    """The numbers of units that could stand in each other's place: those of a stage but its first."""
    groups: list[list[int]] = []
    for number, (_, i) in enumerate(places(net)):
        if i == 0:
            groups.append([])
        else:
            groups[-1].append(number)
    return [group for group in groups if len(group) > 1]


@dataclass(frozen=True)
class Passage:
    """What passed a net of residual units: each unit's input and output, and the gradient at the last output."""

    units: list[nn.Module]
    given: list[Tensor]
    outputs: list[Tensor]
    gradient: Tensor

    def along(self, taken: Collection[int]) -> Tensor:
        """The gradient at the first unit's input along the path that takes these units' branches, and else shortcuts.

        Rectifiers after additions pass what they pass in the whole net, so that the paths' gradients add up to its.
        """
        gradient = self.gradient
        for i in reversed(range(len(self.units))):
            way = self.units[i].branch if i in taken else self.units[i].skip
            leaf = self.given[i].clone().requires_grad_()
            gradient = torch.autograd.grad(way(leaf), leaf, gradient * (self.outputs[i] > 0))[0]  # type: ignore[operator]
        return gradient


def passage(net: Network, images: Tensor, labels: Tensor) -> Passage:
    """What passes `net`, of units that rectify their sum, in evaluation mode with the loss of these images."""
    units = units_of(net)
    given: list[Tensor] = []
    with watched(units, lambda _, x, __: given.append(x.detach())):
        outputs, gradients = forward_and_backward(net.eval(), images, cross_entropy(labels))
    return Passage(units, given, outputs, gradients[-1])


def along_paths(net: Network, images: Tensor, labels: Tensor, draws: int, seed: int) -> list[float]:
    """The norm of the gradient that reaches the first unit along one path, by how many branches the path takes.

    A mean over images and over `draws` paths of each length, drawn at random.
    """
    passed, rng = passage(net, images, labels), np.random.default_rng(seed)
    units = len(passed.units)

    def norm(length: int) -> float:
        gradient = passed.along(rng.choice(units, length, replace=False).tolist())
        return gradient.flatten(1).norm(dim=1).mean().item()

    return [float(np.mean([norm(length) for _ in range(draws)])) for length in range(units + 1)]


def carried(by_length: Sequence[float]) -> list[float]:
    """The share of the gradient that paths of each length carry together: as many as there are, times one's."""
    units = len(by_length) - 1
    weights = [math.comb(units, k) * value for k, value in enumerate(by_length)]
    return [weight / sum(weights) for weight in weights] if sum(weights) else [0.0] * len(weights)
