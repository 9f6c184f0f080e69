"""Training generators: the loss, its random numbers, resuming, previews, and settings that do not suit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import CPU, QUIET, killed_at, same, weights
from torch import Tensor

import skipway
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.image_targets import GenerationTargets, for_generation
from skipway.data.loader import Batch
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.generate.task import Generate
from skipway.training import loop
from skipway.training.recipes import GENERATE_8
from skipway.training.run_manifest import RunOptions

TINY = replace(GENERATE_8, channels=1, iterations=6, batch=20)


def few_digits(count: int = 80) -> Dataset:
    dataset = for_generation(open_dataset("digits"))
    return replace(dataset, train=dataset.train.take(np.arange(count)), test=None)


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    """Noise, times, dropped labels, the optimiser and the average of weights are the same again."""

    def fit(out: Path, resume: bool = False) -> Path:
        return loop.train(few_digits(), TINY, out, CPU, QUIET, resume, RunOptions(checkpoint_steps=2))

    whole, cut = fit(tmp_path / "whole"), tmp_path / "cut"
    with killed_at(4):
        fit(cut)
    fit(cut, resume=True)
    assert same(weights(whole), weights(cut))
    assert [r["val_velocity_loss"] for r in records(whole)] == [r["val_velocity_loss"] for r in records(cut)]


def test_a_batch_in_parts_has_the_loss_of_the_whole(tmp_path: Path) -> None:
    exact = replace(CPU, dtype=torch.float32)
    whole, parts = (
        loop.train(few_digits(), replace(TINY, micro=micro), tmp_path / str(micro), exact, QUIET) for micro in (0, 7)
    )
    for one, other in zip(records(whole), records(parts), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_each_validation_leaves_a_picture_from_the_same_noise(tmp_path: Path) -> None:
    recipe = replace(TINY, iterations=18, batch=8)
    run = loop.train(few_digits(), recipe, tmp_path / "run", CPU, QUIET)
    files = sorted((run / "previews").iterdir())
    assert [file.name for file in files] == [f"step-{record['step']:07d}.png" for record in records(run)]
    assert len(files) > 1
    sizes = set()
    for file in files:
        with Image.open(file) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1
    again = loop.train(few_digits(), recipe, tmp_path / "again", CPU, QUIET)
    assert (again / "previews" / files[-1].name).read_bytes() == files[-1].read_bytes()


class Known(torch.nn.Module):
    """The best velocity for images that are all the same, which no other has a lower loss than."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image
        self.labels: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.labels.append(labels)
        t = t.view(-1, 1, 1, 1)
        return (x - (1 - t) * self.image) / t - self.image


def test_the_loss_of_the_velocity_of_one_image_is_zero() -> None:
    """x_t = (1 - t) x + t e gives e, and with it v = e - x, when x is known."""
    image = torch.rand(1, 8, 8) * 2 - 1
    batch = Batch(image.expand(40, 1, 8, 8), torch.zeros(40, dtype=torch.int64))
    task = Generate(("a",), time_mean=0.0, time_std=1.0)
    assert task.loss(Known(image), batch).losses["loss"] < 1e-6
    wrong = task.loss(Known(image + 0.5), batch).losses["loss"]
    assert wrong > 0.1


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.1, 60, 145), (0.5, 440, 560)])
def test_labels_become_the_null_class_as_often_as_asked(share: float, low: int, high: int) -> None:
    net = Known(torch.zeros(1, 8, 8))
    batch = Batch(torch.zeros(1000, 1, 8, 8), torch.arange(1000) % 3)
    random = BatchRandom(1, 1000, slice(None), torch.device("cpu"))
    Generate(("a", "b", "c"), label_dropout=share).loss(net, batch, random)
    dropped = net.labels[0] == 3
    assert low <= int(dropped.sum()) <= high
    assert torch.equal(net.labels[0][~dropped], batch.targets[~dropped])


def test_the_times_of_the_held_out_loss_are_evenly_spread_whatever_the_recipe_has() -> None:
    seen: list[Tensor] = []

    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        seen.append(t)
        return x

    task = Generate(("a",), time_mean=-0.8, time_std=1.2)
    images, labels = torch.zeros(500, 1, 2, 2), torch.zeros(500, dtype=torch.int64)
    for start in (0, 500):
        task.forward(net, images, labels, start)
        counts = torch.histc(seen[-1], bins=20, min=0, max=1)
        assert counts.min() >= 24
        assert counts.max() <= 26
    assert not torch.equal(seen[0], seen[1])


def test_the_held_out_loss_of_an_image_does_not_depend_on_its_batch() -> None:
    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return x * t.view(-1, 1, 1, 1)

    task, images = Generate(("a",)), torch.rand(12, 1, 4, 4)
    labels = torch.zeros(12, dtype=torch.int64)
    (whole,) = task.forward(net, images, labels, 100)
    parts = [task.forward(net, images[i : i + 5], labels[i : i + 5], 100 + i)[0] for i in (0, 5, 10)]
    assert torch.equal(whole, torch.cat(parts))


def blocks(height: int, width: int, channels: int, count: int = 24) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    split = Split(pixels, GenerationTargets(np.zeros(count, np.int64)), [str(i) for i in range(count)])
    return Dataset("blocks", (), split)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (8, 12, 1), (9, 7, 4), (16, 8, 3), (10, 70, 1)])
def test_images_of_every_shape_and_kind_are_learnt_at_their_own_size(
    height: int, width: int, channels: int, tmp_path: Path
) -> None:
    """Grey, colour and alpha, not square, odd, and larger than 64 pixels, which are reduced to that."""
    data, out = blocks(height, width, channels), tmp_path / "run"
    run = skipway.train(data, out=out, hardware=CPU, model="unet8", iterations=2, batch=8, bad=None)
    card = skipway.load(run.path).card
    longest = max(height, width)
    expected = (height, width) if longest <= 64 else (round(height * 64 / longest), 64)
    shown = card.preprocessing
    assert (shown["height"] or shown["size"], shown["size"]) == expected
    assert card.network["channels"] == channels
    assert card.classes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "--mixup does not apply to generated images"),
        ({"crop": "pad"}, "--crop pad would be learned as part of the images"),
        ({"balance": "weights"}, "--balance weights is for a loss by class"),
        ({"model": "resnet18"}, "unknown generator 'resnet18'"),
        ({"model": "unet64", "size": 6}, "images of 6 pixels are too small for unet64"),
        ({"average_width": 0.4}, "--average-width must be below 0.28"),
    ],
)
def test_settings_that_generation_does_not_allow_are_refused_in_one_line(
    changes: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(skipway.SkipwayError, match=message) as caught:
        loop.train(few_digits(), replace(TINY, **changes), tmp_path / "r", CPU, QUIET)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_a_generator_predicts_nothing_and_says_what_to_use(tmp_path: Path) -> None:
    run = loop.train(few_digits(), TINY, tmp_path / "run", CPU, QUIET)
    with pytest.raises(skipway.SkipwayError, match="use `skipway generate`"):
        skipway.Predictor(run, CPU)
