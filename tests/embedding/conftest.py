"""A small network on disk, folders of images of three kinds, and the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import write_bundle
from typed import Skipway, command_line

WriteImages = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of resnet20 for images of 16 pixels, read only."""
    return write_bundle(tmp_path_factory.mktemp("runs") / "net")


@pytest.fixture
def skipway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Skipway:
    return command_line(monkeypatch, capsys, tmp_path)


def noise(rng: np.random.Generator, channel: int) -> Image.Image:
    """20 x 18 pixels of noise, brighter in one channel."""
    pixels = rng.integers(0, 120, (18, 20, 3), dtype=np.uint8)
    pixels[..., channel] += 120
    return Image.fromarray(pixels)


@pytest.fixture
def write_images(tmp_path: Path) -> WriteImages:
    """write_images(count, folder="new", channel=0): PNG files in name order."""

    def write(count: int, folder: str = "new", channel: int = 0, seed: int = 0) -> list[Path]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, channel])
        files = [tmp_path / folder / f"{i:03d}.png" for i in range(count)]
        for file in files:
            noise(rng, channel).save(file)
        return files

    return write


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Class folders red, green and blue of 24 images each; two reds lie in the folder green."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(24):
            wrong = name == "green" and i in (5, 11)
            noise(rng, 0 if wrong else channel).save(tmp_path / "data" / name / f"{i:02d}.png")
    return tmp_path / "data"
