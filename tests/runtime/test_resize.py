"""Images are resized, cropped and fitted by NumPy as by torch, bit for bit."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipway.data import resize as with_torch
from skipway.data.fitting import Filter
from skipway.data.preprocess import Preprocessing, for_photographs
from skipway.runtime.preprocess import ArrayPreprocessing
from skipway.runtime.resize import center_crop, resize

needs_bytes = pytest.mark.skipif(
    not with_torch.resizes_bytes("bilinear", torch.device("cpu")), reason="torch resizes bytes in floating point here"
)


def pixels(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8).transpose(2, 0, 1)


@needs_bytes
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_every_size_is_resized_as_by_torch(mode: Filter, antialias: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width, tall, wide = (int(side) for side in rng.integers(1, 120, 4))
        image = pixels(rng, height, width, int(rng.choice([1, 3, 4, 6])))
        expected = with_torch.resize(torch.from_numpy(image), tall, wide, mode, antialias).numpy()
        np.testing.assert_array_equal(resize(image, tall, wide, mode, antialias), expected)


@needs_bytes
def test_a_large_photograph_is_resized_as_by_torch() -> None:
    image = pixels(np.random.default_rng(1), 1500, 2011, 3)
    expected = with_torch.resize(torch.from_numpy(image), 191, 256).numpy()
    np.testing.assert_array_equal(resize(image, 191, 256, "bilinear", True), expected)


@needs_bytes
def test_a_side_that_loses_one_pixel_is_resized_as_by_torch() -> None:
    """Cubic weights at the edge are added up, and the largest single one still says how many bits all have."""
    image = pixels(np.random.default_rng(1), 300, 200, 3)
    expected = with_torch.resize(torch.from_numpy(image), 299, 199, "bicubic", antialias=False).numpy()
    np.testing.assert_array_equal(resize(image, 299, 199, "bicubic", antialias=False), expected)


def test_crops_are_those_of_torch() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        height, width, tall, wide = (int(side) for side in rng.integers(1, 12, 4))
        image = pixels(rng, height, width, 3)
        expected = with_torch.center_crop(torch.from_numpy(image), tall, wide).numpy()
        np.testing.assert_array_equal(center_crop(image, tall, wide), expected)


def files(folder: Path) -> list[Path]:
    """Images of many kinds: turned by EXIF, grey, transparent, with 16 bits, tiny, long, large JPEG, palette, array."""
    rng = np.random.default_rng(3)
    colour = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    made: list[tuple[Image.Image, str, dict[str, object]]] = [(colour.resize((90, 61)), "plain.png", {})]
    for orientation in (3, 6, 7):
        exif = Image.Exif()
        exif[0x0112] = orientation
        made.append((colour.resize((80, 50)), f"turned-{orientation}.jpg", {"exif": exif}))
    made += [
        (colour.convert("L").resize((33, 70)), "grey.png", {}),
        (colour.convert("RGBA").resize((40, 40)), "alpha.webp", {}),
        (colour.quantize(8).resize((50, 20)), "palette.gif", {}),
        (Image.fromarray(rng.integers(0, 65536, (40, 44), dtype=np.uint16)), "deep.png", {}),
        (colour.resize((1, 1)), "tiny.png", {}),
        (colour.resize((900, 9)), "long.png", {}),
        (colour.resize((1600, 1203)), "large.jpg", {}),
    ]
    for image, name, options in made:
        image.save(folder / name, **options)
    np.save(folder / "array.npy", rng.integers(0, 256, (30, 31, 3), dtype=np.uint8))
    return sorted(folder.iterdir())


@needs_bytes
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("oversampling", [0.0, 2.0])
def test_files_of_every_kind_become_the_inputs_that_torch_makes(tmp_path: Path, fit: str, oversampling: float) -> None:
    record = replace(for_photographs(32), fit=fit, jpeg_oversampling=oversampling, height=40 if fit == "pad" else 0)
    ours = ArrayPreprocessing(**asdict(record))
    for file in files(tmp_path):
        expected, found = record.opened(file, file.name), ours.opened(file, file.name)
        np.testing.assert_array_equal(found.image, expected.image.numpy(), err_msg=file.name)
        assert found.size == expected.size


@needs_bytes
def test_grey_inputs_are_those_that_torch_makes(tmp_path: Path) -> None:
    record = Preprocessing(1, 24, 28, (0.5,), (0.25,), filter="bicubic", background=(0, 0, 0))
    ours = ArrayPreprocessing(**asdict(record))
    for file in files(tmp_path):
        if file.suffix != ".npy":
            expected = record.open(file, file.name).numpy()
            np.testing.assert_array_equal(ours.opened(file, file.name).image, expected, err_msg=file.name)
