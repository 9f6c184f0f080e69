"""A segmenter that has learnt sixteen drawn images."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from shapes import labelled_shapes, repeated

from skipway import hardware
from skipway.commands.evaluate import evaluate_after_training
from skipway.training import loop
from skipway.training.recipes import SEGMENT_SCRATCH

CPU = hardware.decide("cpu", precision="float32", workers=0)
QUIET = Console(quiet=True)
TINY = replace(
    SEGMENT_SCRATCH, model="unet_resnet18d_x0_5_light", size=96, batch=8, iterations=12, lr=6e-3, average=0.0
)


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluated on what it has learnt."""
    folder = tmp_path_factory.mktemp("segment") / "run"
    dataset = labelled_shapes()
    dataset = repeated(replace(dataset, val=dataset.train, test=None), 40)  # one epoch: one validation and checkpoint
    loop.train(dataset, replace(TINY, iterations=80, crop="none", balance="weights", average=0.9), folder, CPU, QUIET)
    evaluate_after_training(folder, dataset, CPU, QUIET)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sixteen images as files, the first made twice as large."""
    folder = tmp_path_factory.mktemp("pictures")
    files = []
    for i, pixels in enumerate(labelled_shapes().train.items):
        image = Image.fromarray(pixels)
        files.append(folder / f"{i:02d}.png")
        (image if i else image.resize((192, 192), Image.Resampling.NEAREST)).save(files[-1])
    return files
