"""What passes through a network's units, forward and backward."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Objective = Callable[[Tensor], Tensor]  # scores (n, classes) -> a number


def units_of(net: nn.Module) -> list[nn.Module]:
    """The units of every stage, first to last. Empty for networks without stages of units, such as VGG."""
    return [unit for stage in getattr(net, "stages", ()) for unit in net.get_submodule(stage).children()]


@contextmanager
def watched(modules: Sequence[nn.Module], see: Callable[[nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """While the block runs, `see` is shown each of `modules` that has been called, its input and its output."""
    hooks = [m.register_forward_hook(lambda module, given, out: see(module, given[0], out)) for m in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def forward_and_backward(net: nn.Module, images: Tensor, objective: Objective) -> tuple[list[Tensor], list[Tensor]]:
    """The units' outputs, and the gradients of `objective` of the scores with respect to them, each (n, C, H, W)."""
    outputs: list[Tensor] = []
    with torch.enable_grad(), watched(units_of(net), lambda _, __, out: outputs.append(out)):
        value = objective(net(images))
        gradients = torch.autograd.grad(value, outputs)
    return [output.detach() for output in outputs], list(gradients)


def cross_entropy(labels: Tensor) -> Objective:
    """The mean loss of images with these labels."""
    return lambda scores: F.cross_entropy(scores, labels)


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """Of each tensor (n, ...) the root mean square, over the images, of the norm of an image's part."""
    return [tensor.flatten(1).norm(dim=1).square().mean().sqrt().item() for tensor in tensors]


def deviations(tensors: Sequence[Tensor]) -> list[float]:
    """The standard deviation of each tensor over images, positions and channels together."""
    return [tensor.std().item() for tensor in tensors]


def neighbours_alike(tensors: Sequence[Tensor]) -> list[float]:
    """Of each tensor (n, ...) the mean cosine between an entry and the next: 1 where they point the same way."""
    flat = [tensor.flatten(1) for tensor in tensors]
    return [F.cosine_similarity(one[:-1], one[1:]).mean().item() for one in flat]


def path(first: Tensor, last: Tensor, points: int) -> Tensor:
    """(points, C, H, W) in equal steps from one image (C, H, W) to another."""
    share = torch.linspace(0, 1, points).view(-1, 1, 1, 1)
    return first * (1 - share) + last * share
