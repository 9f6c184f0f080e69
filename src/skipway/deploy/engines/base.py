"""What an engine is: a function from fitted uint8 images to the network's outputs, and what it is made of."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks.base import Outputs, as_outputs
from skipway.trained import TrainedModel

Goal = Literal["throughput", "latency"]
Options = Mapping[str, int | str]
Notify = Callable[[str], None]  # called with a line of progress at a time


def ignore_message(line: str) -> None:
    """Says nothing."""


class EngineMissingError(SkipwayError):
    """An engine that cannot run here: its library, device or compiler is absent, or it cannot take this network."""


@dataclass(frozen=True)
class EngineInput:
    """What an engine is built from. It leaves `net` as it is.

    net: in float32 and evaluation mode, on `hardware`'s device; goal: many images a second, or one image soon; store: a
    folder of this network's own where an engine may keep what took long to make, None where nothing is kept; int8: the
    folder that an export in int8 is in once there is one; weights: their SHA-256; outputs: how many tensors the network
    returns; single: whether the network takes one image at a time.
    """

    net: nn.Module
    preprocessing: Preprocessing
    hardware: Hardware
    goal: Goal = "throughput"
    store: Path | None = None
    int8: Path | None = None
    weights: str = ""
    outputs: int = 1
    single: bool = False

    @classmethod
    def of(cls, trained: TrainedModel, hardware: Hardware) -> "EngineInput":
        """For a bundle's network, which is on `hardware`'s device."""
        outputs, weights = len(trained.task.output_names), trained.card.weights_sha256
        return cls(trained.net, trained.preprocessing, hardware, weights=weights, outputs=outputs)

    def example(self, count: int) -> Tensor:
        """Black images, uint8 (count, C, *canvas), in the memory order that engines like best."""
        shape = (count, self.preprocessing.channels, *self.preprocessing.canvas)
        return torch.zeros(shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Engine:
    """A network ready to score images.

    precision: of its convolutions; options: with which the same engine is built again; batch: images that a call takes
    at most; depth: calls under way at a time that keep it busy. `submit` takes uint8 (n, C, size, size) on the CPU, n
    at most `batch`, and gives the network's outputs, float32 (n, ...) on the CPU, in the order of the task's
    `output_names`; calls may overlap where `depth` is above 1.
    """

    name: str
    precision: str
    options: Options
    batch: int
    depth: int
    submit: Callable[[Tensor], Future[Outputs]]

    def outputs(self, images: Tensor) -> Outputs:
        """The outputs (n, ...) of any number of images."""
        waiting = [self.submit(part) for part in images.split(self.batch)]
        return tuple(torch.cat(parts) for parts in zip(*(one.result() for one in waiting), strict=True))

    def scores(self, images: Tensor) -> Tensor:
        """The first of the outputs."""
        return self.outputs(images)[0]


@dataclass(frozen=True)
class EngineKind:
    """A way to make an engine: `build` makes one, `variants` are the options worth measuring here, the usual first.

    Both raise EngineMissingError where it cannot run.
    """

    build: Callable[[EngineInput, Options], Engine]
    variants: Callable[[EngineInput], list[Options]]


def run_synchronously(run: Callable[[Tensor], Tensor | Outputs]) -> Callable[[Tensor], Future[Outputs]]:
    """`run` as `submit` has it: done when it returns."""

    def submit(images: Tensor) -> Future[Outputs]:
        done: Future[Outputs] = Future()
        done.set_result(as_outputs(run(images)))
        return done

    return submit


def pad_batch(images: Tensor, batch: int) -> Tensor:
    """`images` with zeros behind them to make up `batch`."""
    missing = batch - len(images)
    return torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images


def channels_behind(images: Tensor) -> Tensor:
    """(n, C, H, W) -> (n, H, W, C), contiguous; nothing is copied where the memory is channels-last."""
    return images.permute(0, 2, 3, 1).contiguous()


def usual_batch(goal: Goal, device: torch.device) -> int:
    """Images in a call: one where it must come soon, else enough to keep `device` busy."""
    return 1 if goal == "latency" else 256 if device.type == "cuda" else 8


def require_processor(name: str, hardware: Hardware) -> None:
    """Raises EngineMissingError where the work is to be done by an accelerator."""
    if hardware.device.type != "cpu":
        raise EngineMissingError(f"{name} runs on the processor here: give --device cpu")
