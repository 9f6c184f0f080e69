"""Removal and swapping of units in trained networks, and gradients along single paths."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.study.probes.activations import cross_entropy, forward_and_backward, forward_hooks, units_of


class Bypass(nn.Module):
    """A unit without its branch: its shortcut, or the identity if it has none."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.shortcut: Callable[[Tensor], Tensor] = getattr(unit, "skip", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x)


def unit_positions(net: nn.Module) -> list[tuple[nn.Sequential, int]]:
    """The position of each unit: its stage and its index in the stage."""
    stages = [net.get_submodule(stage) for stage in getattr(net, "stages", ())]
    return [(stage, i) for stage in stages if isinstance(stage, nn.Sequential) for i in range(len(stage))]


def removable_units(net: Network, images: Tensor) -> list[int]:
    """The indices of the units that can be removed: all with a shortcut, and others that preserve the shape."""
    removable: dict[nn.Module, bool] = {}

    def check(unit: nn.Module, x: Tensor, out: Tensor) -> None:
        removable[unit] = hasattr(unit, "skip") or x.shape == out.shape

    units = units_of(net)
    with torch.inference_mode(), forward_hooks(units, check):
        net(images[:1])
    return [i for i, unit in enumerate(units) if removable[unit]]


@contextmanager
def removed(net: nn.Module, numbers: Sequence[int]) -> Iterator[None]:
    """Context manager that removes the units with these indices."""
    positions = unit_positions(net)
    units = {number: positions[number][0][positions[number][1]] for number in numbers}
    for number, unit in units.items():
        stage, i = positions[number]
        stage[i] = Bypass(unit)
    try:
        yield
    finally:
        for number, unit in units.items():
            stage, i = positions[number]
            stage[i] = unit


@contextmanager
def swapped(net: nn.Module, pairs: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Context manager that swaps the two units of each pair."""
    positions = unit_positions(net)

    def swap(a: int, b: int) -> None:
        (one, i), (other, j) = positions[a], positions[b]
        one[i], other[j] = other[j], one[i]

    for pair in pairs:
        swap(*pair)
    try:
        yield
    finally:
        for pair in reversed(pairs):
            swap(*pair)


def swappable_groups(net: Network) -> list[list[int]]:
    """Groups of indices of units that can be swapped: those of each stage except the first."""
    groups: list[list[int]] = []
    for number, (_, i) in enumerate(unit_positions(net)):
        if i == 0:
            groups.append([])
        else:
            groups[-1].append(number)
    return [group for group in groups if len(group) > 1]


@dataclass(frozen=True)
class UnitActivations:
    """Each residual unit's input and output in a forward pass, and the gradient at the last output."""

    units: list[nn.Module]
    inputs: list[Tensor]
    outputs: list[Tensor]
    gradient: Tensor

    def path_gradient(self, branches: Collection[int]) -> Tensor:
        """The gradient at the first unit's input along the path through the branches of these units, and through the
        shortcuts of all others.

        The ReLUs after additions are masked as in the full network, so that the gradients of all paths add up to that
        of the network.
        """
        gradient = self.gradient
        for i in reversed(range(len(self.units))):
            part = self.units[i].branch if i in branches else self.units[i].skip
            leaf = self.inputs[i].clone().requires_grad_()
            gradient = torch.autograd.grad(part(leaf), leaf, gradient * (self.outputs[i] > 0))[0]  # type: ignore[operator]
        return gradient


def unit_activations(net: Network, images: Tensor, labels: Tensor) -> UnitActivations:
    """The activations of `net`, whose units apply ReLU to a sum, in evaluation mode, with the loss of these images."""
    units = units_of(net)
    inputs: list[Tensor] = []
    with forward_hooks(units, lambda _, x, __: inputs.append(x.detach())):
        outputs, gradients = forward_and_backward(net.eval(), images, cross_entropy(labels))
    return UnitActivations(units, inputs, outputs, gradients[-1])


def path_gradient_norms(net: Network, images: Tensor, labels: Tensor, draws: int, seed: int) -> list[float]:
    """The norm of the gradient that reaches the first unit along one path, by the number of branches on the path.

    The mean over images and over `draws` random paths of each length.
    """
    activations, rng = unit_activations(net, images, labels), np.random.default_rng(seed)
    units = len(activations.units)

    def norm(length: int) -> float:
        gradient = activations.path_gradient(rng.choice(units, length, replace=False).tolist())
        return gradient.flatten(1).norm(dim=1).mean().item()

    return [float(np.mean([norm(length) for _ in range(draws)])) for length in range(units + 1)]


def gradient_shares(by_length: Sequence[float]) -> list[float]:
    """The share of the gradient carried by all paths of each length: their number times the gradient of one."""
    units = len(by_length) - 1
    weights = [math.comb(units, k) * value for k, value in enumerate(by_length)]
    return [weight / sum(weights) for weight in weights] if sum(weights) else [0.0] * len(weights)
