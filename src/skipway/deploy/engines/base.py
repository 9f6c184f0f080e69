"""What an engine is: a function from a network's inputs to its outputs, and what it is made of.

Most networks take fitted uint8 images alone; which tensors a network takes, and in which order, its task says.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks.base import Outputs, Task, as_outputs
from skipway.tasks.inference import generation_batch
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

    net: in float32 and evaluation mode, on `hardware`'s device; task: what it is for, and so its inputs and outputs;
    goal: many images a second, or one image soon; store: a folder of this network's own where an engine may keep what
    took long to make, None where nothing is kept; int8: the folder that an export in int8 is in once there is one;
    weights: their SHA-256; single: whether the network takes one image at a time.
    """

    net: nn.Module
    task: Task
    preprocessing: Preprocessing
    hardware: Hardware
    goal: Goal = "throughput"
    store: Path | None = None
    int8: Path | None = None
    weights: str = ""
    single: bool = False

    @classmethod
    def of(cls, trained: TrainedModel, hardware: Hardware) -> "EngineInput":
        """For a bundle's network, which is on `hardware`'s device."""
        return cls(trained.net, trained.task, trained.preprocessing, hardware, weights=trained.card.weights_sha256)

    def example(self, count: int) -> tuple[Tensor, ...]:
        """Inputs for `count` images, in the memory order that engines like best."""
        return self.task.example_inputs(self.preprocessing, count)

    @property
    def takes_images(self) -> bool:
        """Whether fitted uint8 images are the network's only input."""
        return [given.dtype for given in self.example(1)] == [torch.uint8]

    @property
    def contiguous(self) -> bool:
        """Whether `Hardware.place` leaves the network in contiguous memory, although its format is another."""
        return self.hardware.format_for(self.net) is not self.hardware.memory_format

    @property
    def placement(self) -> Hardware:
        """`hardware` in the memory format of the network, for graphs of it and their inputs."""
        return replace(self.hardware, memory_format=self.hardware.format_for(self.net))


@dataclass(frozen=True)
class Engine:
    """A network ready to run.

    precision: of its convolutions; options: with which the same engine is built again; batch: images that a call takes
    at most; depth: calls under way at a time that keep it busy. `submit` takes the tensors of the task's `input_names`,
    most often uint8 images (n, C, height, width) alone, on the CPU, n at most `batch`, and gives the network's outputs,
    float32 (n, ...) on the CPU, in the order of the task's `output_names`; calls may overlap where `depth` is above 1.
    """

    name: str
    precision: str
    options: Options
    batch: int
    depth: int
    submit: Callable[..., Future[Outputs]]

    def outputs(self, *inputs: Tensor) -> Outputs:
        """The outputs (n, ...) for inputs (n, ...), any n."""
        waiting = [self.submit(*part) for part in split_inputs(inputs, self.batch)]
        return tuple(torch.cat(parts) for parts in zip(*(one.result() for one in waiting), strict=True))

    def scores(self, *inputs: Tensor) -> Tensor:
        """The first of the outputs."""
        return self.outputs(*inputs)[0]


@dataclass(frozen=True)
class EngineKind:
    """A way to make an engine: `build` makes one, `variants` are the options worth measuring here, the usual first.

    Both raise EngineMissingError where it cannot run.
    """

    build: Callable[[EngineInput, Options], Engine]
    variants: Callable[[EngineInput], list[Options]]


def run_synchronously(run: Callable[..., Tensor | Outputs]) -> Callable[..., Future[Outputs]]:
    """`run` as `submit` has it: done when it returns."""

    def submit(*inputs: Tensor) -> Future[Outputs]:
        done: Future[Outputs] = Future()
        done.set_result(as_outputs(run(*inputs)))
        return done

    return submit


def split_inputs(inputs: Sequence[Tensor], batch: int) -> list[tuple[Tensor, ...]]:
    """Inputs (n, ...) as those of batches of at most `batch`."""
    return list(zip(*(given.split(batch) for given in inputs), strict=True))


def pad_batch(given: Tensor, batch: int) -> Tensor:
    """An input (n, ...) with zeros behind it to make up `batch`."""
    missing = batch - len(given)
    return torch.cat([given, given.new_zeros(missing, *given.shape[1:])]) if missing else given


def placed(inputs: Sequence[Tensor], batch: int, hardware: Hardware) -> list[Tensor]:
    """`inputs` made up to `batch`, on the device, (n, C, H, W) in its memory format. Their types stay."""
    whole = [pad_batch(given, batch) for given in inputs]
    return [hardware.place_images(given) if given.dim() == 4 else given.to(hardware.device) for given in whole]


def channels_behind(images: Tensor) -> Tensor:
    """(n, C, H, W) -> (n, H, W, C), contiguous; nothing is copied where the memory is channels-last."""
    return images.permute(0, 2, 3, 1).contiguous()


def usual_batch(trained: EngineInput) -> int:
    """Images in a call: one where it must come soon, else enough to keep the device busy."""
    device = trained.hardware.device
    if trained.goal == "latency":
        return 1
    if trained.task.generates:
        return generation_batch(device, trained.preprocessing.canvas)
    return 256 if device.type == "cuda" else 8


def require_processor(name: str, hardware: Hardware) -> None:
    """Raises EngineMissingError where the work is to be done by an accelerator."""
    if hardware.device.type != "cpu":
        raise EngineMissingError(f"{name} runs on the processor here: give --device cpu")
