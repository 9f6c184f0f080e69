"""Pictures of a report on generation: every pixel is where it belongs."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from skipway.tasks.generate import gallery
from skipway.tasks.generate.copies import nearest_training
from skipway.tasks.generate.evaluation import PER_CLASS
from skipway.tasks.generate.gallery import LARGE, SMALL, Picture, grid


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def pixels_of(picture: Picture) -> np.ndarray:
    """The picture as a browser has it."""
    kind, data = picture.uri.split(",")
    assert kind == "data:image/webp;base64"
    opened = Image.open(io.BytesIO(base64.b64decode(data)))
    assert opened.size == (picture.width, picture.height)
    return np.asarray(opened.convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20), (3, 70, 96)])
def test_a_grid_has_each_image_at_its_place_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    some = images(7, *shape)
    factor = -(-SMALL // max(shape[1:]))
    pixels = np.asarray(grid(some, 3))
    height, width = shape[1] * factor, shape[2] * factor
    assert pixels.shape == (3 * height + 4, 3 * width + 4, 3)
    for place, image in enumerate(some):
        top, left = place // 3 * (height + 2), place % 3 * (width + 2)
        tile = pixels[top : top + height, left : left + width]
        assert (tile[::factor, ::factor] == image.expand(3, -1, -1).permute(1, 2, 0).numpy()).all()
        assert (tile == tile[::factor, ::factor].repeat(factor, 0).repeat(factor, 1)).all()
    assert (pixels[:, width : width + 2] == 255).all() and (pixels[2 * height + 4 :, width:] == 255).all()


def test_large_images_are_reduced_and_keep_their_shape() -> None:
    assert grid(images(2, 3, 480, 240), 2).size == (2 * LARGE // 2 + 2, LARGE)


def test_transparent_pixels_are_white_and_further_channels_are_left_out() -> None:
    clear = torch.zeros(1, 4, 96, 96, dtype=torch.uint8)
    assert (np.asarray(grid(clear, 1)) == 255).all()
    five = images(1, 5, 96, 96)
    assert (np.asarray(grid(five, 1)) == five[0, :3].permute(1, 2, 0).numpy()).all()
    two = images(1, 2, 96, 96)
    assert (np.asarray(grid(two, 1))[:, :, 0] == two[0, 0].numpy()).all()


def evaluation(**given: Any) -> Any:
    return SimpleNamespace(**given)


def test_samples_are_a_row_for_each_class() -> None:
    shown = images(3 * PER_CLASS, 1, 56, 56)
    pixels = pixels_of(gallery.samples(evaluation(grid=shown.numpy())))
    assert pixels.shape[:2] == (3 * 58 - 2, PER_CLASS * 58 - 2)
    assert (pixels[58 : 58 + 56, :56, 0] == shown[PER_CLASS, 0].numpy()).all(), "the second row is the second class"


def test_paths_are_a_row_for_each_time() -> None:
    frames = torch.stack([images(4, 1, 56, 56, seed=time) for time in range(3)])
    trajectories = SimpleNamespace(images=frames.numpy())
    pixels = pixels_of(gallery.paths(evaluation(trajectories=trajectories)))
    assert pixels.shape[:2] == (3 * 58 - 2, 4 * 58 - 2)
    assert (pixels[2 * 58 :, 58 : 58 + 56, 0] == frames[2, 1, 0].numpy()).all()


def test_the_samples_most_like_a_training_image_stand_beside_it() -> None:
    training, samples = images(20, 3, 56, 56, seed=1), images(6, 3, 56, 56)
    samples[4] = training[13]
    nearest = nearest_training(samples, training)
    found = gallery.pairs(evaluation(samples=samples.numpy(), training=training, nearest=nearest), 2)
    assert [pair.copy for pair in found] == [True, False] and found[0].ratio == 0 < found[1].ratio
    for picture in (found[0].sample, found[0].nearest):
        assert (pixels_of(picture) == training[13].permute(1, 2, 0).numpy()).all()
    second = int(nearest.most_alike(2)[1])
    expected = training[int(nearest.indices[second, 0])].permute(1, 2, 0).numpy()
    assert (pixels_of(found[1].nearest) == expected).all()


def test_without_training_images_there_are_no_pairs() -> None:
    assert gallery.pairs(evaluation(samples=images(2, 1, 8, 8).numpy(), training=None, nearest=None), 3) == []


@pytest.mark.parametrize(("count", "steps"), [(10, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 2, 4, 6]), (1, [6]), (2, [0, 6])])
def test_previews_are_evenly_spread_and_the_last_is_among_them(tmp_path: Path, count: int, steps: list[int]) -> None:
    files = []
    for step in range(7):
        files.append(tmp_path / f"step-{100 * step:07d}.png")
        Image.new("L", (30, 20), 30 * step).save(files[-1])
    found = gallery.previews(files, count)
    assert [preview.step for preview in found] == [100 * step for step in steps]
    for preview, step in zip(found, steps, strict=True):
        assert abs(pixels_of(preview.picture).mean() - 30 * step) < 3
    assert gallery.previews([], count) == []
