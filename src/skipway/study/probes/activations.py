"""Activations and gradients of a network's units."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Objective = Callable[[Tensor], Tensor]  # scores (n, classes) -> scalar


def units_of(net: nn.Module) -> list[nn.Module]:
    """The units of every stage, first to last. Empty for networks without stages of units, such as VGG."""
    return [unit for stage in getattr(net, "stages", ()) for unit in net.get_submodule(stage).children()]


@contextmanager
def forward_hooks(modules: Sequence[nn.Module], hook: Callable[[nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Context manager that calls `hook(module, input, output)` after each forward call of one of `modules`."""
    hooks = [m.register_forward_hook(lambda module, inputs, out: hook(module, inputs[0], out)) for m in modules]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def forward_and_backward(net: nn.Module, images: Tensor, objective: Objective) -> tuple[list[Tensor], list[Tensor]]:
    """The units' outputs, and the gradients of `objective` with respect to them, each (n, C, H, W)."""
    outputs: list[Tensor] = []
    with torch.enable_grad(), forward_hooks(units_of(net), lambda _, __, out: outputs.append(out)):
        value = objective(net(images))
        gradients = torch.autograd.grad(value, outputs)
    return [output.detach() for output in outputs], list(gradients)


def cross_entropy(labels: Tensor) -> Objective:
    """The mean cross-entropy loss of images with these labels."""
    return lambda scores: F.cross_entropy(scores, labels)


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """For each tensor (n, ...), the root mean square over images of the norm of each image's part."""
    return [tensor.flatten(1).norm(dim=1).square().mean().sqrt().item() for tensor in tensors]


def standard_deviations(tensors: Sequence[Tensor]) -> list[float]:
    """The standard deviation of each tensor over images, positions and channels."""
    return [tensor.std().item() for tensor in tensors]


def neighbour_similarity(tensors: Sequence[Tensor]) -> list[float]:
    """For each tensor (n, ...), the mean cosine similarity between consecutive entries."""
    flat = [tensor.flatten(1) for tensor in tensors]
    return [F.cosine_similarity(one[:-1], one[1:]).mean().item() for one in flat]


def interpolate(first: Tensor, last: Tensor, points: int) -> Tensor:
    """Linear interpolation between two images (C, H, W): (points, C, H, W)."""
    share = torch.linspace(0, 1, points).view(-1, 1, 1, 1)
    return first * (1 - share) + last * share
