"""Losses of a network in its first training steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.models.base import Network
from skipway.reporting.svg import quieten
from skipway.study.engine.code_hash import code_of
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.scale import ScaleName
from skipway.study.engine.verdicts import format_mean_std
from skipway.training.recipes import HE2015_CIFAR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POOL = 10_000  # images that the batches are drawn from
LEARNT = 0.2  # nats below the chance loss that count as having started to learn
SMOOTH = 10  # steps in the moving average of the loss


@dataclass(frozen=True)
class FirstSteps:
    """`steps` steps of `batch` images of `pixels` x `pixels` (0: the size of the data), the first `warmup` of them at a
    tenth of the learning rate (He 2015, sec. 4.2)."""

    steps: int
    batch: int
    pixels: int
    warmup: int = 0

    def rate(self, step: int, peak: float) -> float:
        """The learning rate of a step, counted from 0."""
        return peak / 10 if step < self.warmup else peak

    def summary(self) -> str:
        size = f" of {self.pixels} pixels" if self.pixels else ""
        return f"first {self.steps} steps of {self.batch} images{size}"


# For networks of a thousand layers; warm-up as in He 2015, sec. 4.2, and He 2016, appendix: 400 steps.
DEEP_STARTS: dict[ScaleName, FirstSteps] = {
    "tiny": FirstSteps(2, 8, 0, 1),
    "small": FirstSteps(500, 32, 16, 400),
    "paper": FirstSteps(1_000, 128, 0, 400),
}


class ShortTrainer:
    """Trains the first steps with the SGD of He 2015 on random training images without augmentation."""

    def __init__(self, context: ExperimentContext, start: FirstSteps) -> None:
        self.context, self.start = context, start

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        preprocessing = self.context.preprocessing
        side = self.start.pixels or preprocessing.size
        return self.context.images("train", POOL, replace(preprocessing, size=side, resize=side))

    def chance_loss(self) -> float:
        """The loss in nats of a network that gives every class the same score."""
        return round(math.log(len(self.context.dataset.classes)), 4)

    def losses(self, model: str, seed: int, rate: float) -> list[float]:
        """Loss in nats at each step, up to the first non-finite loss. Cached, and shared between studies.

        rate: the learning rate after warm-up.
        """
        part = f"{model} {seed} {rate} {self.start}"
        return self.context.cached(part, __file__, [code_of(model)], lambda: self.run(model, seed, rate))

    def run(self, model: str, seed: int, rate: float) -> list[float]:
        images, labels = self.images
        net = self.context.hardware.place(self.context.untrained(model, seed)).train()
        optimiser = torch.optim.SGD(
            net.parameters(), lr=rate, momentum=HE2015_CIFAR.momentum, weight_decay=HE2015_CIFAR.weight_decay
        )
        order = torch.Generator().manual_seed(seed)
        losses: list[float] = []
        for step in range(self.start.steps):
            for group in optimiser.param_groups:
                group["lr"] = self.start.rate(step, rate)
            chosen = torch.randint(len(images), (self.start.batch,), generator=order)
            loss = self.step(net, optimiser, images[chosen], labels[chosen])
            if not math.isfinite(loss):
                break
            losses.append(round(loss, 4))
        return losses

    def step(self, net: Network, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
        hardware = self.context.hardware
        optimiser.zero_grad()
        with hardware.autocast():
            scores = net(hardware.place_images(images))
        loss = F.cross_entropy(scores.float(), labels.to(hardware.device))
        loss.backward()
        optimiser.step()
        return float(loss.detach())


def smoothed(losses: Sequence[float]) -> list[float]:
    """The moving average of the last SMOOTH losses."""
    windows = [losses[max(0, end - SMOOTH) : end] for end in range(1, len(losses) + 1)]
    return [math.fsum(window) / len(window) for window in windows]


def final_loss(losses: Sequence[float], steps: int) -> float:
    """The smoothed loss after `steps` steps; infinite if training stopped earlier."""
    return smoothed(losses)[-1] if len(losses) == steps else math.inf


def end_losses(found: Sequence[Sequence[float]], steps: int, chance: float) -> list[float]:
    """The final loss of every seed; `chance` if training stopped earlier, as for errors."""
    ends = [final_loss(losses, steps) for losses in found]
    return [end if math.isfinite(end) else chance for end in ends]


def steps_to(losses: Sequence[float], loss: float) -> int | None:
    """The number of steps after which the smoothed loss is at most `loss`; None if it never is."""
    return next((i for i, value in enumerate(smoothed(losses), 1) if value <= loss), None)


def format_losses(ends: Sequence[float]) -> str:
    """The final losses of the seeds as text."""
    return format_mean_std(ends) if max(ends) < math.inf else "not finite"


def plot_losses(axes: "Axes", found: Sequence[Sequence[float]], colour: str, label: str) -> None:
    """Plot the smoothed losses, one line for each seed."""
    for i, losses in enumerate(found):
        line = smoothed(losses)
        axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=1.3, label=label if i == 0 else None)
    quieten(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats)")


def plot_first_steps(
    axes: "Axes", nets: Mapping[str, Sequence[Sequence[float]]], guessing: float, warmup: int = 0
) -> None:
    """Plot the first steps of networks on a logarithmic axis, since a deep network may start far above chance."""
    for (label, found), colour in zip(nets.items(), ("#009E73", "#CC79A7"), strict=False):
        plot_losses(axes, found, colour, label)
    axes.axhline(guessing, color="#8a9099", linewidth=0.9, linestyle=":", label="chance")
    if warmup:
        axes.axvline(warmup, color="#8a9099", linewidth=0.9, linestyle="--", label="end of warm-up")
    axes.set_yscale("log")
    limits = axes.get_ylim()
    axes.set_yticks([1, 2, 5, 10, 100, 1000], ["1", "2", "5", "10", "100", "1,000"])
    axes.set_yticks([], minor=True)
    axes.set_ylim(limits)  # restore the limits, which the ticks widen
    axes.legend(frameon=False, fontsize=8)
