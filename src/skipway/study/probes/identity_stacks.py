"""Stacks of plain and of residual units that are trained to reproduce their input."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.models.resnet import Basic, Plain, initialise, no_shortcut, shortcut_a
from skipway.study.engine.context import ExperimentContext, TrainedNetwork

CHANNELS, SIDE = 16, 16  # of the maps to be reproduced: those of the first stage, cropped to a corner
KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Plain(CHANNELS, CHANNELS, 1, no_shortcut),
    "residual": lambda: Basic(CHANNELS, CHANNELS, 1, shortcut_a),
}


@dataclass(frozen=True)
class StackTraining:
    """How stacks are trained: numbers of units, steps, maps per step, and number of images that give the maps."""

    depths: tuple[int, ...]
    steps: int
    batch: int
    images: int


def maps_of(net: Network, images: Tensor) -> Tensor:
    """The first stage's maps, which are non-negative: (n, 16, at most SIDE, at most SIDE)."""
    with torch.inference_mode():
        found = torch.cat([net.features(part)[0][..., :SIDE, :SIDE] for part in images.split(256)])
    return found.clone()


def share_lost(stack: nn.Module, maps: Tensor) -> Tensor:
    """The mean squared error between output and input, divided by the variance of the input."""
    return F.mse_loss(stack(maps), maps) / maps.var()


def train_stack(kind: str, depth: int, config: StackTraining, maps: Tensor, held: Tensor, seed: int) -> dict[str, Any]:
    """Train a stack of `depth` units to reproduce `maps`, and measure the share of `held` maps lost.

    SGD with momentum 0.9 and the papers' learning rate of 0.1, decayed linearly to 0. Batch norm uses the batch.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        stack = nn.Sequential(*(KINDS[kind]() for _ in range(depth)))
        initialise(stack)
        learner = torch.optim.SGD(stack.parameters(), lr=0.1, momentum=0.9)
        falling = torch.optim.lr_scheduler.LinearLR(learner, 1.0, 0.0, config.steps)
        curve = [[0, measure_loss(stack, held)]]
        for step in range(1, config.steps + 1):
            learner.zero_grad()
            share_lost(stack, maps[torch.randint(len(maps), (config.batch,))]).backward()
            nn.utils.clip_grad_norm_(stack.parameters(), 1.0)
            learner.step()
            falling.step()
            if step == config.steps or math.log2(step).is_integer():
                curve.append([step, measure_loss(stack, held)])
    return {"kind": kind, "depth": depth, "seed": seed, "curve": curve, "lost": curve[-1][1]}


@torch.no_grad()
def measure_loss(stack: nn.Module, held: Tensor) -> float:
    return float(f"{share_lost(stack, held).item():.4g}")


def train_stacks(context: ExperimentContext, config: StackTraining, trained: TrainedNetwork) -> list[dict[str, Any]]:
    """Train stacks of every kind and depth on the maps of one trained network. Each is cached."""
    preprocessing, seed = trained.preprocessing(), trained.run.recipe.seed
    maps, held = (
        maps_of(trained.net(), context.images(split, most, preprocessing)[0])
        for split, most in (("train", config.images), ("test", config.images // 8))
    )

    def one(kind: str, depth: int) -> dict[str, Any]:
        part = f"{kind} {depth} {config}"
        return context.cached(
            part, __file__, [trained.run.key], lambda: train_stack(kind, depth, config, maps, held, seed)
        )

    return [one(kind, depth) for kind in KINDS for depth in config.depths]
