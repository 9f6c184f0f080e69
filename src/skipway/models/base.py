"""The interface of every network, so that no other package depends on a particular one."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, fx, nn

from skipway.errors import SkipwayError


class Network(nn.Module):
    """The interface, checked by mypy and the tests. It has no options.

    - `forward(x)`: images (N, C, H, W) -> class scores (N, classes); in training mode, `ModelOutput` where the network
      has auxiliary classifiers.
    - `features(x)`: the stages' feature maps, finest first; `channels` and `strides` (input pixels per map pixel)
      describe them.
    - `classify(last)`: from `features(x)[-1]` to class scores (N, classes), so that in evaluation mode
      `forward(x)` is `classify(features(x)[-1])`.
    - `smallest`: the input side in pixels that leaves one pixel in the last map.
    - `first`: the name of the first convolution; `heads`: the names of the linear layers that output class scores, the
      main one first. The main one belongs to the last child with parameters.
    - `stages`: the names of the `nn.Sequential`s of units that a deep network may recompute; empty if there are none.
    """

    channels: list[int]
    strides: list[int]
    smallest: int
    first: str
    heads: tuple[str, ...]
    stages: tuple[str, ...]

    def features(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def classify(self, last: Tensor) -> Tensor:
        raise NotImplementedError

    def save_memory(self) -> bool:
        """Enable the network's own activation checkpointing; returns False if it has none."""
        return False

    def __prepare_scriptable__(self) -> fx.GraphModule:
        """What torch.jit.script compiles: the operations of `forward` in the current mode, training or evaluation.

        Its language has no `get_submodule`, and no tuples of any length, so that a network with auxiliary classifiers
        can be scripted in evaluation mode alone.
        """
        recorded = fx.symbolic_trace(self)
        recorded.graph.output_node().type = None  # of both modes: `Tensor | ModelOutput`
        recorded.recompile()
        return recorded


class ModelOutput(NamedTuple):
    """Scores (N, classes) and those of the auxiliary classifiers, for the loss in training."""

    scores: Tensor
    auxiliary: tuple[Tensor, ...]


class TakesImages(Protocol):
    """A network or its trunk: it takes images of at least `smallest` pixels, for the convolution `first`."""

    smallest: int
    first: str

    def get_submodule(self, target: str) -> nn.Module: ...


def is_recorded(x: Tensor) -> bool:
    """Whether `x` only stands for tensors, while torch.fx or torch.jit.trace records what is done with them.

    Its shape is not known then, or would become a part of the record, so that nothing may depend on it.
    """
    return isinstance(x, fx.Proxy) or torch.jit.is_tracing()  # type: ignore[attr-defined]  # documented, as public


def require_images(net: TakesImages, x: Tensor) -> None:
    """Raises SkipwayError if `x` does not fit `net`: not (N, C, H, W), wrong channels, or too small."""
    if is_recorded(x):
        return
    first = net.get_submodule(net.first)
    assert isinstance(first, nn.Conv2d)
    if x.dim() != 4 or x.shape[1] != first.in_channels:
        raise SkipwayError(
            f"images of shape {tuple(x.shape)} do not fit this network: it expects (N, {first.in_channels}, H, W)"
        )
    side = min(x.shape[-2:])
    if side < net.smallest:
        raise SkipwayError(f"images of {side} pixels are too small for this network: the smallest is {net.smallest}")


def classes_of(net: Network) -> int:
    """The number of class scores that `net` outputs."""
    head = net.get_submodule(net.heads[0])
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head.weight.shape[0]


def without_classifier(net: Network) -> Network:
    """`net`, of which the classifiers are removed: it has `features`, and neither `classify` nor `forward`."""
    for head in net.heads:
        delattr(net, head.split(".")[0])
    net.heads = ()
    return net


def replace_heads(net: Network, classes: int) -> None:
    """Replace the classifiers by new ones for `classes` classes: weights N(0, 0.01), biases 0."""
    for name in net.heads:
        old = net.get_submodule(name)
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, classes, device=old.weight.device, dtype=old.weight.dtype)
        nn.init.normal_(new.weight, std=0.01)
        nn.init.zeros_(new.bias)
        net.set_submodule(name, new)
