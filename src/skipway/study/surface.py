"""The training loss around a trained net, along random directions of which each filter has its filter's norm.

Li, Xu, Taylor, Studer, Goldstein: Visualizing the Loss Landscape of Neural Nets. NeurIPS 2018, arXiv:1712.09913.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from skipway.hardware import Hardware
from skipway.study.bench import Bench, Trained

RISE = 1.0  # nats above the trained net's loss at which the valley counts as left
CEILING = 1e6  # nats; a higher loss, or one that is no number, counts as this
BATCH = 128


@dataclass(frozen=True)
class Grid:
    """How closely is looked: training images, directions, points from -1 to 1 on each line, and across the square."""

    images: int
    directions: int
    points: int
    across: int


GRIDS = {"tiny": Grid(16, 2, 5, 3), "small": Grid(256, 4, 17, 15), "paper": Grid(2048, 8, 51, 41)}


def direction(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random direction among the weights of `net`, by name: each filter of the length of the net's own (sec. 4).

    A filter is what makes one channel: a convolution's kernel for it, a linear layer's row. Biases and the scales and
    shifts of batch normalisation stay, as in the paper. The same for nets of the same shapes but for the lengths.
    """
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            drawn = torch.randn(weight.shape, generator=generator).flatten(1)
            own = weight.detach().cpu().flatten(1).norm(dim=1, keepdim=True)
            found[name] = (drawn / drawn.norm(dim=1, keepdim=True) * own).view_as(weight).to(weight.device)
    return found


@dataclass(frozen=True)
class Surface:
    """The mean cross-entropy of `net`, in evaluation mode, on images (n, C, H, W) and labels (n,), all on one device.

    Statistics of batch normalisation are those of the trained net everywhere.
    """

    net: nn.Module
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, net: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> "Surface":
        return cls(hardware.place(net.eval()), hardware.place_images(images), labels.to(hardware.device))

    @torch.no_grad()
    def at(self, *steps: tuple[float, Mapping[str, Tensor]]) -> float:
        """The loss in nats, at most CEILING, with the weights moved by each of `steps`: how far, and along what."""
        moved = {name: weight.detach().clone() for name, weight in self.net.named_parameters()}
        for far, along in steps:
            for name, towards in along.items():
                moved[name] += far * towards
        total = 0.0
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            scores = functional_call(self.net, moved, (images,))
            total += F.cross_entropy(scores.float(), labels, reduction="sum").item()
        loss = total / len(self.labels)
        return min(loss, CEILING) if math.isfinite(loss) else CEILING


def places(count: int) -> list[float]:
    """`count` places from -1 to 1; an odd number, so that 0, the trained net, is one of them."""
    return [round(x, 6) for x in np.linspace(-1, 1, count).tolist()]


def rays(line: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Both halves of a line, from the trained net outwards."""
    middle = len(line) // 2
    return line[middle:], line[middle::-1]


def width(line: Sequence[float]) -> float:
    """How far one gets from the trained net until the loss has risen by RISE; the mean of both ways, each at most 1.

    In lengths of the filters, and linear between the points of the line. A narrow valley is a sharp minimum.
    """
    return sum(map(reach, rays(line))) / 2


def reach(ray: Sequence[float]) -> float:
    """As `width`, for one way."""
    limit = ray[0] + RISE
    for i in range(1, len(ray)):
        if ray[i] >= limit:
            return (i - 1 + (limit - ray[i - 1]) / (ray[i] - ray[i - 1])) / (len(ray) - 1)
    return 1.0


def descent(line: Sequence[float]) -> float:
    """Of all ups and downs on the ways outwards, the share that goes down; 0 in a bowl. Of the loss's logarithm, in
    which a plateau counts no less than a peak.
    """
    steps = np.concatenate([np.diff(np.log(np.maximum(ray, 1e-6))) for ray in rays(line)])
    total = float(np.abs(steps).sum())
    return float(-steps[steps < 0].sum()) / total if total else 0.0


def surface_of(bench: Bench, trained: Trained, grid: Grid) -> tuple[Surface, list[dict[str, Tensor]]]:
    """The loss of a trained net, and directions that differ from seed to seed."""
    images, labels = bench.images("train", grid.images, trained.preprocessing())
    surface = Surface.of(trained.net(), images, labels, bench.hardware)
    first = 1000 * trained.run.recipe.seed
    return surface, [direction(surface.net, first + i) for i in range(grid.directions)]


def lines(bench: Bench, trained: Trained, grid: Grid) -> list[list[float]]:
    """The loss at every place along each direction."""

    def measured() -> list[list[float]]:
        surface, directions = surface_of(bench, trained, grid)
        return [[short(surface.at((x, d))) for x in places(grid.points)] for d in directions]

    return bench.keep("lines", __file__, [trained.run.key], measured)


def square(bench: Bench, trained: Trained, grid: Grid) -> list[list[float]]:
    """The loss over the first two directions, rows along the second one."""

    def measured() -> list[list[float]]:
        surface, (across, up, *_) = surface_of(bench, trained, grid)
        side = places(grid.across)
        return [[short(surface.at((x, across), (y, up))) for x in side] for y in side]

    return bench.keep("square", __file__, [trained.run.key], measured)


def short(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")
