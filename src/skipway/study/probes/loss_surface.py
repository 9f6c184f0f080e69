"""The training loss around a trained network, along random filter-normalised directions.

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
from skipway.study.engine.context import ExperimentContext, TrainedNetwork

RISE = 1.0  # nats above the trained network's loss at which the valley ends
CEILING = 1e6  # nats; higher and non-finite losses count as this
BATCH = 128


@dataclass(frozen=True)
class Grid:
    """Resolution: number of training images, directions, points from -1 to 1 on each line, and points per side of the
    square."""

    images: int
    directions: int
    points: int
    across: int


GRIDS = {"tiny": Grid(16, 2, 5, 3), "small": Grid(256, 4, 33, 15), "paper": Grid(2048, 8, 51, 41)}


def direction(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random direction in weight space by parameter name, each filter scaled to the norm of the network's (sec. 4).

    A filter produces one channel: the kernel of a convolution, or the row of a linear layer. Biases and the scales and
    shifts of batch normalisation are left out, as in the paper. Up to the norms, the direction depends only on the
    seed and the shapes.
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

    The running statistics of batch normalisation are those of the trained network everywhere.
    """

    net: nn.Module
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, net: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> "Surface":
        return cls(hardware.place(net.eval()), hardware.place_images(images), labels.to(hardware.device))

    @torch.no_grad()
    def at(self, *steps: tuple[float, Mapping[str, Tensor]]) -> float:
        """The loss in nats, at most CEILING, with the weights moved by each of `steps`: a distance and a direction."""
        moved = {name: weight.detach().clone() for name, weight in self.net.named_parameters()}
        for distance, along in steps:
            for name, delta in along.items():
                moved[name] += distance * delta
        total = 0.0
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            scores = functional_call(self.net, moved, (images,))
            total += F.cross_entropy(scores.float(), labels, reduction="sum").item()
        loss = total / len(self.labels)
        return min(loss, CEILING) if math.isfinite(loss) else CEILING


def grid_points(count: int) -> list[float]:
    """`count` equally spaced points from -1 to 1; for odd numbers they include 0, the trained network."""
    return [round(x, 6) for x in np.linspace(-1, 1, count).tolist()]


def rays(line: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Both halves of a line, from the trained network outwards."""
    middle = len(line) // 2
    return line[middle:], line[middle::-1]


def width(line: Sequence[float]) -> float:
    """The distance from the trained network at which the loss has risen by RISE: the mean of both sides, each at most
    1.

    In units of filter norms, interpolated linearly between the points of the line. A narrow valley is a sharp minimum.
    """
    return sum(map(half_width, rays(line))) / 2


def half_width(ray: Sequence[float]) -> float:
    """The width on one side."""
    limit = ray[0] + RISE
    for i in range(1, len(ray)):
        if ray[i] >= limit:
            return (i - 1 + (limit - ray[i - 1]) / (ray[i] - ray[i - 1])) / (len(ray) - 1)
    return 1.0


def downhill_share(line: Sequence[float], chance: float) -> float:
    """The share of the loss's total variation outwards that is downhill, within the valley; 0 in a convex valley.

    The valley ends where the loss first reaches that of chance, in nats: beyond it the network is no better than
    guessing, and the loss of a network that has learnt little is nearly level there.
    """
    steps = np.concatenate([np.diff(within(ray, chance)) for ray in rays(line)])
    total = float(np.abs(steps).sum())
    return float(-steps[steps < 0].sum()) / total if total else 0.0


def within(ray: Sequence[float], chance: float) -> Sequence[float]:
    """The part of a ray up to the first loss of at least `chance`, which counts as `chance`."""
    end = next((i for i, loss in enumerate(ray) if loss >= chance), len(ray))
    return [*ray[:end], chance] if end < len(ray) else ray


def surface_of(
    context: ExperimentContext, trained: TrainedNetwork, grid: Grid
) -> tuple[Surface, list[dict[str, Tensor]]]:
    """The loss surface of a trained network, and directions that depend on its seed."""
    images, labels = context.images("train", grid.images, trained.preprocessing())
    surface = Surface.of(trained.net(), images, labels, context.hardware)
    first = 1000 * trained.run.recipe.seed
    return surface, [direction(surface.net, first + i) for i in range(grid.directions)]


def lines(context: ExperimentContext, trained: TrainedNetwork, grid: Grid) -> list[list[float]]:
    """The loss at every point along each direction."""

    def measured() -> list[list[float]]:
        surface, directions = surface_of(context, trained, grid)
        return [[rounded(surface.at((x, d))) for x in grid_points(grid.points)] for d in directions]

    return context.cached("lines", __file__, [trained.run.key], measured)


def square(context: ExperimentContext, trained: TrainedNetwork, grid: Grid) -> list[list[float]]:
    """The loss over the first two directions; rows are along the second one."""

    def measured() -> list[list[float]]:
        surface, (across, up, *_) = surface_of(context, trained, grid)
        side = grid_points(grid.across)
        return [[rounded(surface.at((x, across), (y, up))) for x in side] for y in side]

    return context.cached("square", __file__, [trained.run.key], measured)


def rounded(value: float) -> float:
    """`value` rounded to five significant digits."""
    return float(f"{value:.5g}")
