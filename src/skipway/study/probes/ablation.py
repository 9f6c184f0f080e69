"""Removal and swapping of units in trained networks, and gradients along single paths."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.models.resnet import Basic, Bottleneck
from skipway.study.engine.context import ExperimentContext
from skipway.study.probes.activations import cross_entropy, forward_and_backward, forward_hooks, units_of


class Bypass(nn.Module):
    """A unit without its branch: its shortcut, or the identity if it has none."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.shortcut: Callable[[Tensor], Tensor] = getattr(unit, "skip", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x)


@dataclass(frozen=True)
class Ablation:
    """What is measured of a network: the number of test images, the numbers of units removed or of pairs swapped with
    the draws of each, and the draws of paths of each length."""

    images: int
    counts: tuple[int, ...]
    draws: int
    paths: int


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


# ---------------------------------------------------------------------------------------------------------------------
# Everything measured of one network


@torch.inference_mode()
def error(net: Network, images: Tensor, labels: Tensor) -> float:
    """The error in per cent."""
    wrong = sum((net(x).argmax(1) != y).sum().item() for x, y in zip(images.split(250), labels.split(250), strict=True))
    return round(100 * wrong / len(labels), 3)


def kendall_tau(units: int, pairs: Sequence[tuple[int, int]]) -> float:
    """Kendall's tau between the order of the units and the order after swapping `pairs` one after another."""
    from scipy.stats import kendalltau

    order = list(range(units))
    for a, b in pairs:
        order[a], order[b] = order[b], order[a]
    return round(float(kendalltau(range(units), order).statistic), 4)


def ablate(net: Network, images: Tensor, labels: Tensor, config: Ablation, seed: int) -> dict[str, Any]:
    """Errors of the full network, with each unit removed, and of every random draw of removed units (cut: number,
    error) and of swapped pairs (swap: number, error, Kendall's tau)."""
    rng = np.random.default_rng(seed)
    numbers, units = removable_units(net, images), len(unit_positions(net))
    one = []
    for number in numbers:
        with removed(net, [number]):
            one.append([number, error(net, images, labels)])
    many: dict[str, list[list[Any]]] = {"cut": [], "swap": []}
    for count in (c for c in config.counts if c < len(numbers)):
        for _ in range(config.draws):
            with removed(net, rng.choice(numbers, count, replace=False).tolist()):
                many["cut"].append([count, error(net, images, labels)])
            if groups := swappable_groups(net):
                pairs = [tuple(rng.choice(groups[rng.integers(len(groups))], 2, replace=False)) for _ in range(count)]
                with swapped(net, pairs):
                    many["swap"].append([count, error(net, images, labels), kendall_tau(units, pairs)])
    return {"units": units, "whole": error(net, images, labels), "one": one, **many}


def examine(net: Network, images: Tensor, labels: Tensor, config: Ablation, seed: int) -> dict[str, Any]:
    """Removals and swaps in a network and, if all units apply ReLU to a sum, the paths through it."""
    found = ablate(net, images, labels, config, seed)
    if all(isinstance(unit, Basic | Bottleneck) for unit in units_of(net)):
        found["paths"] = path_gradient_norms(net, images[:32], labels[:32], config.paths, seed)
    return found


def cached_examination(
    context: ExperimentContext,
    key: str,
    net: Callable[[], Network],
    data: tuple[Tensor, Tensor],
    config: Ablation,
    seed: int,
) -> dict[str, Any]:
    """The result of `examine` on images and labels, cached for the network identified by `key`."""
    part = f"ablation {config}"
    return context.cached(part, __file__, [key], lambda: examine(net(), *data, config, seed))
