"""A detector that has learnt sixteen drawn images."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from shapes import repeated, shapes

from skipway import bundle, hardware
from skipway.commands.evaluate import evaluate_after_training
from skipway.training import loop
from skipway.training.recipes import DETECT_SCRATCH

CPU = hardware.decide("cpu", precision="float32", workers=0)
QUIET = Console(quiet=True)
TINY = replace(DETECT_SCRATCH, model="fcos_resnet18d_x0_5_light", size=96, batch=8, iterations=12, lr=2e-3, average=0.0)


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluated on what it has learnt, with the threshold of that."""
    folder = tmp_path_factory.mktemp("detect") / "run"
    dataset = shapes()
    dataset = replace(dataset, val=dataset.train, test=None)
    dataset = repeated(dataset, 35)  # one epoch: one validation and checkpoint
    loop.train(dataset, replace(TINY, iterations=70, crop="none", average=0.9), folder, CPU, QUIET)
    evaluate_after_training(folder, dataset, CPU, QUIET)
    assert bundle.read_card(folder).calibration is not None
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sixteen images as files, the first made twice as large."""
    folder = tmp_path_factory.mktemp("pictures")
    files = []
    for i, pixels in enumerate(shapes().train.items):
        image = Image.fromarray(pixels)
        files.append(folder / f"{i:02d}.png")
        (image if i else image.resize((192, 192), Image.Resampling.NEAREST)).save(files[-1])
    return files
