"""How images reach the network in training: as evaluation and prediction will give them, but for chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from skipway import hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.preprocess import IMAGENET_MEAN, Preprocessing, for_photographs, for_pixels
from skipway.errors import DataError
from skipway.training.dataloaders import match_preprocessing
from skipway.training.recipes import QUICK, Recipe
from skipway.training.setup import TrainSetup, setup_training

CPU = hardware.decide(device="cpu", workers=0)
QUIET = Console(quiet=True)
PLAIN = replace(QUICK, batch=6, crop="none", flip=False, average=0.0, model="resnet20")


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> Dataset:
    return open_dataset(str(photo_folder))


def setup(dataset: Dataset, recipe: Recipe) -> TrainSetup:
    return setup_training(dataset, recipe, CPU, QUIET)


def assert_trained_on_what_is_predicted(run: TrainSetup) -> None:
    """Without chance, a training image is what `Preprocessing.open` makes of it, and so is one of val."""
    picked, (images, _) = next(run.batches.order.batches(0)), next(iter(run.batches.epoch(0)))
    split, record = run.dataset.train, run.preprocessing
    opened = torch.stack([record.open(split.items[i], split.names[i]) for i in picked.tolist()])
    torch.testing.assert_close(images, record.normalised(opened), rtol=0, atol=1e-5)
    assert run.validation is not None
    first = record.open(run.dataset.val.items[0], run.dataset.val.names[0])
    assert torch.equal(next(run.validation.batches())[0], first)


@pytest.mark.parametrize("size", [32, 80], ids=["in memory", "streamed"])
@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_training_feeds_what_prediction_feeds(photos: Dataset, fit: str, channels: int, size: int) -> None:
    run = setup(photos, replace(PLAIN, fit=fit, channels=channels, size=size))
    record = run.preprocessing
    assert (record.fit, record.channels, record.size) == (fit, channels or 3, size)
    assert run.network["channels"] == record.channels == len(record.mean) == len(record.std)
    assert_trained_on_what_is_predicted(run)


@pytest.mark.parametrize("size", [32, 80], ids=["in memory", "streamed"])
def test_the_margin_of_a_padded_picture_is_the_mean_and_vanishes_when_normalised(size: int) -> None:
    wide = np.random.default_rng(0).integers(0, 200, (12, 30, 60, 3), dtype=np.uint8)
    dataset = Dataset("wide", ("a", "b"), Split(wide, np.arange(12) % 2, [str(i) for i in range(12)]))
    images, _ = next(iter(setup(dataset, replace(PLAIN, fit="pad", size=size)).batches.epoch(0)))
    quarter = size // 4
    assert images[:, :, :quarter].abs().max() < 0.02, "half a step of 255, over the deviation"
    assert images[:, :, -quarter:].abs().max() < 0.02
    assert (images[:, :, quarter:-quarter].abs().amax((1, 2, 3)) > 0.5).all()


def test_grey_photographs_are_normalised_by_their_own_grey(photos: Dataset) -> None:
    run = setup(photos, replace(PLAIN, channels=1, size=80))
    grey = [np.asarray(Image.open(item).convert("L"), dtype=float) for item in run.dataset.train.items]
    assert run.preprocessing.mean[0] == pytest.approx(np.mean([g.mean() for g in grey]) / 255, abs=0.02)
    assert setup(photos, replace(PLAIN, size=80)).preprocessing.mean == IMAGENET_MEAN


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (200, 10, 30)])
@pytest.mark.parametrize("size", [16, 80], ids=["in memory", "streamed"])
@pytest.mark.parametrize("crop", ["none", "resized"])
def test_the_background_shows_through_in_training(
    tmp_path: Path, background: tuple[int, int, int], size: int, crop: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGBA", (90, 90), (9, 99, 199, 0)).save(tmp_path / name / f"{i}.png")
    run = setup(open_dataset(str(tmp_path)), replace(PLAIN, background=background, size=size, crop=crop))
    assert run.preprocessing.background == background
    images, _ = next(iter(run.batches.epoch(0)))
    clear = run.preprocessing.normalised(torch.tensor(background, dtype=torch.uint8).view(1, 3, 1, 1))
    torch.testing.assert_close(images, clear.expand_as(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(8, 5), (70, 2)], ids=["in memory", "streamed"])
def test_arrays_of_any_number_of_channels_train_as_they_are(size: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (12, size, size, channels), dtype=np.uint8)
    pixels[..., 1] //= 4
    dataset = Dataset("bands", ("a", "b"), Split(pixels, np.arange(12) % 2, [f"bands[{i}]" for i in range(12)]))
    run = setup(dataset, replace(PLAIN, size=size))
    assert run.network["channels"] == channels
    np.testing.assert_allclose(run.preprocessing.mean[:2], [0.39, 0.095], atol=0.02)
    assert_trained_on_what_is_predicted(run)
    with pytest.raises(DataError, match=rf"bands\[\d+\] has {channels} channels, and 3 are needed"):
        setup(dataset, replace(PLAIN, channels=3))


def test_weights_for_large_images_leave_small_ones_whole() -> None:
    record = Preprocessing(3, 224, 256, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), filter="bicubic")
    small = match_preprocessing(for_pixels(torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)), record)
    assert (small.size, small.resize, small.filter) == (32, 32, "bilinear")
    assert (small.mean, small.std) == (record.mean, record.std)


def test_photographs_keep_the_margin_and_the_filter_of_the_weights() -> None:
    record = Preprocessing(3, 288, 288, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), filter="bicubic")
    fed = match_preprocessing(for_photographs(224), record)
    assert (fed.size, fed.resize, fed.filter, fed.mean) == (224, 224, "bicubic", (0.5, 0.5, 0.5))


def test_grey_images_are_not_fed_by_the_means_of_colours() -> None:
    own = for_pixels(torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8))
    assert match_preprocessing(own, for_photographs(224)) == own
