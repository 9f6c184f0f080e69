"""The first steps of a training, loss by loss: whether a net of a thousand layers learns at all, and how fast."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.study.bench import Bench
from skipway.study.code import code_of
from skipway.study.verdicts import spread
from skipway.training.recipes import HE2015_CIFAR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POOL = 10_000  # images that the steps draw from
LEARNT = 0.2  # nats below the loss of guessing: what counts as having begun to learn
SMOOTH = 10  # steps whose mean counts as the loss at one of them


@dataclass(frozen=True)
class Start:
    """`steps` steps of `batch` images of `pixels` a side (0: the data's own)."""

    steps: int
    batch: int
    pixels: int

    def words(self) -> str:
        size = f" of {self.pixels} pixels" if self.pixels else ""
        return f"first {self.steps} steps of {self.batch} images{size}"


class Beginner:
    """Runs first steps on a bench's training images, unaugmented and drawn at random, by the SGD of He 2015."""

    def __init__(self, bench: Bench, start: Start) -> None:
        self.bench, self.start = bench, start

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        own = self.bench.feeding
        side = self.start.pixels or own.size
        return self.bench.images("train", POOL, replace(own, size=side, resize=side))

    def guessing(self) -> float:
        """The loss in nats of a net that gives every class the same score."""
        return round(math.log(len(self.bench.source.classes)), 4)

    def losses(self, model: str, seed: int, rate: float) -> list[float]:
        """Loss in nats at each step. It ends early where a loss is no finite number. Studies share what was run."""
        part = f"{model} {seed} {rate} {self.start}"
        return self.bench.keep(part, __file__, [code_of(model)], lambda: self.run(model, seed, rate))

    def run(self, model: str, seed: int, rate: float) -> list[float]:
        images, labels = self.images
        net = self.bench.hardware.place(self.bench.fresh(model, seed)).train()
        learner = torch.optim.SGD(
            net.parameters(), lr=rate, momentum=HE2015_CIFAR.momentum, weight_decay=HE2015_CIFAR.weight_decay
        )
        order = torch.Generator().manual_seed(seed)
        found: list[float] = []
        for _ in range(self.start.steps):
            chosen = torch.randint(len(images), (self.start.batch,), generator=order)
            loss = self.step(net, learner, images[chosen], labels[chosen])
            if not math.isfinite(loss):
                break
            found.append(round(loss, 4))
        return found

    def step(self, net: Network, learner: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
        hardware = self.bench.hardware
        learner.zero_grad()
        with hardware.autocast():
            scores = net(hardware.place_images(images))
        loss = F.cross_entropy(scores.float(), labels.to(hardware.device))
        loss.backward()
        learner.step()
        return float(loss.detach())


def smoothed(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and those before it, at most SMOOTH of them."""
    windows = [losses[max(0, end - SMOOTH) : end] for end in range(1, len(losses) + 1)]
    return [math.fsum(window) / len(window) for window in windows]


def final(losses: Sequence[float], steps: int) -> float:
    """The smoothed loss at the end of `steps` steps; infinite where the training did not get there."""
    return smoothed(losses)[-1] if len(losses) == steps else math.inf


def steps_to(losses: Sequence[float], loss: float) -> int | None:
    """After how many steps the smoothed loss is at `loss` or below; None where it never is."""
    return next((i for i, value in enumerate(smoothed(losses), 1) if value <= loss), None)


def told(ends: Sequence[float]) -> str:
    """The seeds' last losses in words."""
    return spread(ends) if max(ends) < math.inf else "no number"


def curves(axes: "Axes", found: Sequence[Sequence[float]], colour: str, label: str) -> None:
    """A line a seed, smoothed."""
    for i, losses in enumerate(found):
        line = smoothed(losses)
        axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=1.3, label=label if i == 0 else None)
    quieten(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats)")


def race(axes: "Axes", nets: Mapping[str, Sequence[Sequence[float]]], guessing: float) -> None:
    """The first steps of two nets, over decades, since a deep net may begin far above what guessing costs."""
    for (label, found), colour in zip(nets.items(), ("#009E73", "#CC79A7"), strict=False):
        curves(axes, found, colour, label)
    axes.axhline(guessing, color="#8a9099", linewidth=0.9, linestyle=":", label="guessing")
    axes.set_yscale("log")
    limits = axes.get_ylim()
    axes.set_yticks([1, 2, 3, 10, 100, 1000], ["1", "2", "3", "10", "100", "1,000"])
    axes.set_yticks([], minor=True)
    axes.set_ylim(limits)  # the ticks would widen them
    axes.legend(frameon=False, fontsize=8)
