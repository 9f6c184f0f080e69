"""Generators with random weights, on disk and in memory, for tests of what runs them."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from skipway import bundle
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import EngineInput
from skipway.hardware import decide
from skipway.models.generation.registry import create_generator
from skipway.models.generation.unet import VelocityUNet
from skipway.tasks.generate.task import Generate


def untrained(classes: int, channels: int = 1) -> VelocityUNet:
    """A `unet8` whose convolutions that start as 0 are random, so that every part counts."""
    torch.manual_seed(1)
    net = create_generator("unet8", classes, channels)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(0, 0.05)
    return net.eval()


def pixels(channels: int = 1, canvas: tuple[int, int] = (8, 8)) -> Preprocessing:
    half = (0.5,) * channels
    return Preprocessing(channels, canvas[1], min(canvas), half, half, height=canvas[0])


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {label}" for label in range(classes))


def as_trained(net: VelocityUNet, canvas: tuple[int, int] = (8, 8)) -> EngineInput:
    task = Generate.from_classes(names(net.classes))
    return EngineInput(net, task, pixels(net.image_channels, canvas), decide("cpu", precision="float32"))


def make_run(folder: Path, net: VelocityUNet, canvas: tuple[int, int] = (8, 8)) -> Path:
    """A bundle of `net`."""
    card = Card(
        task="generate",
        network={"name": "unet8", "classes": net.classes, "channels": net.image_channels},
        classes=list(names(net.classes)),
        preprocessing=asdict(pixels(net.image_channels, canvas)),
        recipe={"name": "made for a test", "val": 0.0, "seed": 0},
        data={"name": "nowhere", "fingerprint": ""},
        hardware={},
        versions={},
        commit="",
        created="",
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        seconds=0.0,
    )
    folder.mkdir(parents=True)
    bundle.write(folder, net.state_dict(), card)
    return folder


def inputs_for(trained: EngineInput, count: int) -> tuple[Tensor, ...]:
    """Noise, times and labels of `count` images."""
    return trained.task.random_inputs(trained.preprocessing, count)[0]  # type: ignore[index]
