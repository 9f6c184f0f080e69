"""What the tests of generators share: tiny bundles of generators that were not trained."""

from pathlib import Path

import torch
from twins import shaken

from skipway import bundle
from skipway.bundle import Card
from skipway.models import create_generator

CLASSES = ["ape", "bee", "cat"]


def write_generator(
    folder: Path, classes: list[str] = CLASSES, channels: int = 1, canvas: tuple[int, int] = (8, 8), seed: int = 0
) -> Path:
    """unet8 with numbers of its own everywhere, so that its images depend on noise, class and every setting."""
    torch.manual_seed(seed)
    net = create_generator("unet8", len(classes), channels)
    shaken(net)
    with torch.no_grad():
        net.conv_out.weight.mul_(0.3)  # velocities of the size of noise
    half, (height, width) = [0.5] * channels, canvas
    card = Card(
        task="generate",
        network={"name": "unet8", "classes": len(classes), "channels": channels},
        classes=classes,
        preprocessing={
            "channels": channels,
            "size": width,
            "height": height,
            "resize": min(canvas),
            "mean": half,
            "std": half,
        },
        recipe={"name": "generate-8", "epochs": 0},
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
