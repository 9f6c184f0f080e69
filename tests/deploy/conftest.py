"""A small trained network on disk, and images for it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from twins import shaken

from skipway import bundle, models
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import EngineInput
from skipway.hardware import decide
from skipway.tasks import Classify

CLASSES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"]
SHOWN = Preprocessing(3, 32, 32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
MakeRun = Callable[..., Path]


def card_of(name: str, net: torch.nn.Module, data: str = "nowhere", calibration: dict | None = None) -> Card:
    return Card(
        task="classify",
        network={"name": name, "classes": len(CLASSES), "channels": 3},
        classes=CLASSES,
        preprocessing=asdict(SHOWN),
        recipe={"name": "made for a test", "val": 0.0, "seed": 0},
        data={"name": data, "fingerprint": ""},
        hardware={},
        versions={},
        commit="",
        created="",
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=0.0,
        calibration=calibration,
    )


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """make_run(folder, net=None, calibration=None): a bundle of a ResNet-20 for eight classes at 32 pixels."""

    def make(folder: Path, net: torch.nn.Module | None = None, calibration: dict | None = None) -> Path:
        torch.manual_seed(1)
        net = net or shaken(models.build("resnet20", classes=len(CLASSES)))
        folder.mkdir(parents=True)
        bundle.write(folder, net.state_dict(), card_of("resnet20", net, calibration=calibration))
        return folder

    return make


@pytest.fixture(scope="session")
def run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the session, read only: its temperature is 2."""
    return make_run(tmp_path_factory.mktemp("runs") / "tiny", calibration={"temperature": 2.0, "split": "val", "n": 9})


def photographs(count: int, seed: int = 0) -> list[np.ndarray]:
    """uint8 (H, W, 3) arrays of different sizes: noise over a ramp of a random colour."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        height, width = 32 + i % 5, 40 - i % 7
        ramp = np.linspace(0, 1, width)[None, :, None] * rng.uniform(0, 255, 3)
        found.append((ramp * 0.7 + rng.uniform(0, 76, (height, width, 3))).astype(np.uint8))
    return found


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., list[Path]]:
    """make_images(count, folder="images"): PNG files in name order."""

    def make(count: int, folder: str = "images") -> list[Path]:
        (tmp_path / folder).mkdir(exist_ok=True)
        files = [tmp_path / folder / f"{i:03d}.png" for i in range(count)]
        for file, pixels in zip(files, photographs(count), strict=True):
            Image.fromarray(pixels).save(file)
        return files

    return make


def as_trained(net: torch.nn.Module, **fields: object) -> EngineInput:
    return EngineInput(net.eval(), Classify(tuple(CLASSES)), SHOWN, decide("cpu"), **fields)  # type: ignore[arg-type]


def random_images(count: int, seed: int = 0) -> Tensor:
    """Fitted photographs, uint8 (count, 3, 32, 32)."""
    return torch.stack([SHOWN.open(pixels, "test") for pixels in photographs(count, seed)])
