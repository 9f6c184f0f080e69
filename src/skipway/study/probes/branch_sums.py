"""Signals and gradients of residual units compared with the sums of He 2016, equations 4 and 5, and what a ReLU after
the addition removes from them."""

import torch
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.study.probes.activations import Objective, forward_and_backward, forward_hooks, norms, units_of

SMALL = 1e-3  # factor for small weights


def identity_units(net: Network, x: Tensor) -> list[list[tuple[nn.Module, Tensor]]]:
    """The units with identity shortcuts in each stage, each with its input."""
    inputs: dict[nn.Module, Tensor] = {}
    with forward_hooks(units_of(net), lambda unit, given, _: inputs.__setitem__(unit, given)):
        net(x)
    found: list[list[tuple[nn.Module, Tensor]]] = []
    for stage in net.stages:
        row = [(unit, inputs[unit]) for unit in net.get_submodule(stage).children()]
        found.append([(unit, given) for unit, given in row if unit.skip(given) is given])  # type: ignore[operator]
    return found


def relative_norm(difference: Tensor, whole: Tensor) -> float:
    return (difference.norm() / whole.norm()).item()


def sum_errors(net: Network, images: Tensor, objective: Objective) -> dict[str, list[list[float]]]:
    """The relative differences of signals and gradients from the sums of equations 4 and 5.

    forward: for each stage, after 1, 2, ... units from its first, x_L compared with x_l plus the branches' outputs;
    backward: from its last unit backwards, the gradient at x_l compared with the one at x_L plus the gradients through
    the branches.
    """
    outputs, gradients = forward_and_backward(net, images, objective)
    after = dict(zip(units_of(net), zip(outputs, gradients, strict=True), strict=True))
    forward, backward = [], []
    for row in identity_units(net, images):
        total, along = row[0][1].detach(), []
        for unit, given in row:
            total = total + unit.branch(given).detach()  # type: ignore[operator]
            along.append(relative_norm(after[unit][0] - total, after[unit][0]))
        forward.append(along)
        total, along = after[row[-1][0]][1], []
        for (unit, given), (before, _) in zip(row[:0:-1], row[-2::-1], strict=True):
            total = total + branch_gradient(unit, given, after[unit][1])
            along.append(relative_norm(after[before][1] - total, after[before][1]))
        backward.append(along)
    return {"forward": forward, "backward": backward}


def branch_gradient(unit: nn.Module, given: Tensor, gradient: Tensor) -> Tensor:
    """The gradient at a unit's input through its branch only."""
    leaf = given.detach().requires_grad_()
    with torch.enable_grad():
        out = unit.branch(leaf)  # type: ignore[operator]
    return torch.autograd.grad(out, leaf, gradient)[0]


@torch.no_grad()
def truncated_shares(net: nn.Module, images: Tensor) -> list[float]:
    """For each unit, the share of the values of branch plus shortcut that are below zero, in per cent. A ReLU after the
    addition sets these to zero."""
    found: list[float] = []

    def count(unit: nn.Module, x: Tensor, out: Tensor) -> None:
        sums = unit.branch(x) + unit.skip(x)  # type: ignore[operator]
        found.append(round(100 * (sums < 0).float().mean().item(), 2))

    with forward_hooks(units_of(net), count):
        net(images)
    return found


def with_small_weights(net: Network) -> Network:
    """`net` with the weights of every unit's convolutions multiplied by SMALL."""
    for unit in units_of(net):
        for module in unit.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.data *= SMALL
    return net


def unit_gradients(net: Network, images: Tensor, objective: Objective) -> list[float]:
    """The norm of the gradient after each unit, divided by that after the last."""
    _, gradients = forward_and_backward(net, images, objective)
    found = norms(gradients)
    return [norm / found[-1] for norm in found]
