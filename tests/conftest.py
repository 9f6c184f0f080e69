"""What every test may use. Nothing here knows skipway, so that a fault of ours cannot hide in a helper."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MakePhotos = Callable[..., Path]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each of several workers, two at most for one: more would only get in each other's way."""
    most = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
    torch.set_num_threads(min(torch.get_num_threads(), most))


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    """Each test begins from the same random state, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of whoever runs it."""
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and weights beside the repository (CIFAR-10 as JPEG, photographs, others' weights)."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data beside the repository")
    return folder


def synthetic_photo(kind: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A coloured pattern that tells its `kind`: stripes that run down, across or aslant, with noise on top."""
    rows, columns = np.mgrid[0:height, 0:width]
    along = (columns, rows, rows + columns)[kind % 3]
    wave = (np.sin(along * 2 * np.pi / 12 + rng.uniform(0, 2 * np.pi)) + 1) / 2
    colour = np.full(3, 60.0)
    colour[kind % 3] = 230.0
    pixels = wave[:, :, None] * colour + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def make_photos() -> MakePhotos:
    """make_photos(folder, classes=("across", "down", "slant"), each=8, seed=0): class folders of JPEG photographs.

    No two images of a class have the same size (40 to some 100 pixels a side); the same arguments give the same bytes.
    """

    def make(folder: Path, classes: Sequence[str] = ("across", "down", "slant"), each: int = 8, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        for kind, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for i in range(each):
                photo = synthetic_photo(kind, 40 + 8 * i, 64 + 5 * (i % 3), rng)
                photo.save(folder / name / f"{name}-{i}.jpg", quality=90)
        return folder

    return make


@pytest.fixture(scope="session")
def photo_folder(make_photos: MakePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 8 photographs, shared by the session: read it, do not change it (make_photos gives one's own)."""
    return make_photos(tmp_path_factory.mktemp("photos") / "patterns")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, or a skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()
