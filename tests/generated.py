"""Generators with random weights, on disk and in memory, for tests of what runs them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from twins import shaken

from skipway import bundle
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import EngineInput
from skipway.hardware import decide
from skipway.models import create_generator
from skipway.models.generation.unet import VelocityUNet
from skipway.tasks.generate.task import Generate

CLASSES = ["ape", "bee", "cat"]
SMALL = (8, 8)  # pixels


def write_generator(
    folder: Path, classes: list[str] = CLASSES, channels: int = 1, canvas: tuple[int, int] = SMALL, seed: int = 0
) -> Path:
    """A bundle of unet8 with numbers of its own everywhere, so that its images depend on noise, class and every
    setting."""
    torch.manual_seed(seed)
    net = create_generator("unet8", len(classes), channels)
    shaken(net)
    with torch.no_grad():
        net.conv_out.weight.mul_(0.3)  # velocities of the size of noise
    return write_run(folder, net, canvas, classes)


def untrained(classes: int, channels: int = 1) -> VelocityUNet:
    """unet8 as a training starts with it, but for random weights where it has zeros, so that every part counts."""
    torch.manual_seed(1)
    net = create_generator("unet8", classes, channels)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(0, 0.05)
    return net.eval()


def preprocessing_of(net: VelocityUNet, canvas: tuple[int, int]) -> Preprocessing:
    half = (0.5,) * net.image_channels
    return Preprocessing(net.image_channels, canvas[1], min(canvas), half, half, height=canvas[0])


def as_trained(net: VelocityUNet, canvas: tuple[int, int] = SMALL) -> EngineInput:
    """What engines and exports take, for a network of at most as many classes as CLASSES."""
    task = Generate.from_classes(CLASSES[: net.classes])
    return EngineInput(net, task, preprocessing_of(net, canvas), decide("cpu", precision="float32"))


def write_run(
    folder: Path, net: VelocityUNet, canvas: tuple[int, int] = SMALL, classes: Sequence[str] = CLASSES
) -> Path:
    """A bundle of `net`, a unet8, whose classes are the first of `classes`."""
    card = Card(
        task="generate",
        network={"name": "unet8", "classes": net.classes, "channels": net.image_channels},
        classes=list(classes)[: net.classes],
        preprocessing=asdict(preprocessing_of(net, canvas)),
        recipe={"name": "generate-8", "epochs": 0, "val": 0.0, "seed": 0},
        data={"name": "animals", "fingerprint": ""},
        hardware={},
        versions={"torch": torch.__version__},
        commit="unknown",
        created="2026-01-02T03:04:05+00:00",
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=1.0,
    )
    folder.mkdir(parents=True)
    bundle.write(folder, net.state_dict(), card)
    return folder


def inputs_for(trained: EngineInput, count: int) -> tuple[Tensor, ...]:
    """Noise, times and labels of `count` images."""
    return trained.task.random_inputs(trained.preprocessing, count)[0]  # type: ignore[index]
