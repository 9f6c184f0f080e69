"""What every network offers, so that nothing above `models/` asks which one it has."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from skipway.errors import SkipwayError


class Network(nn.Module):
    """The contract, held by the type checker and the tests. It has no option, and no behaviour that networks share.

    - `forward(x)`: images (N, C, H, W) -> class scores (N, classes); in training mode, `Judged` where the network has
      auxiliary classifiers.
    - `features(x)`: the stages' maps, finest first; `channels` and `strides` describe them: depth, and input pixels
      per map pixel.
    - `classify(last)`: from `features(x)[-1]` to class scores (N, classes), so that in evaluation mode
      `forward(x)` is `classify(features(x)[-1])`.
    - `smallest`: pixels a side that leave one whole pixel in the last map.
    - `first`: the name of the convolution that sees the image; `heads`: the names of the linear layers that give class
      scores, the main one first. The main one belongs to the last child that has parameters.
    - `stages`: the names of the `nn.Sequential`s of units that a deep network may recompute; empty where none is.
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


class Judged(NamedTuple):
    """Scores (N, classes) and those of the auxiliary classifiers, for the loss in training."""

    scores: Tensor
    auxiliary: tuple[Tensor, ...]


class TakesImages(Protocol):
    """What takes images for the convolution `first`, of `smallest` pixels a side or more: a network or its trunk."""

    smallest: int
    first: str

    def get_submodule(self, target: str) -> nn.Module: ...


def require_images(net: TakesImages, x: Tensor) -> None:
    """Raises SkipwayError when `net` cannot take `x`: not (N, C, H, W), other channels, or no pixel in the last map."""
    first = net.get_submodule(net.first)
    assert isinstance(first, nn.Conv2d)
    if x.dim() != 4 or x.shape[1] != first.in_channels:
        raise SkipwayError(
            f"images of shape {tuple(x.shape)} do not fit this network: it takes (N, {first.in_channels}, H, W)"
        )
    side = min(x.shape[-2:])
    if side < net.smallest:
        raise SkipwayError(f"images of {side} pixels are too small for this network: the smallest is {net.smallest}")


def classes_of(net: Network) -> int:
    """How many class scores `net` gives."""
    head = net.get_submodule(net.heads[0])
    assert isinstance(head, nn.Linear)
    return head.out_features


def replace_heads(net: Network, classes: int) -> None:
    """Fresh classifiers for `classes` classes: N(0, 0.01), biases at 0."""
    for name in net.heads:
        old = net.get_submodule(name)
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, classes, device=old.weight.device, dtype=old.weight.dtype)
        nn.init.normal_(new.weight, std=0.01)
        nn.init.zeros_(new.bias)
        net.set_submodule(name, new)
