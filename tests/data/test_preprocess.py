"""Preprocessing against torchvision's pipeline and NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from skipway.data.preprocess import FILTERS, IMAGENET_MEAN, IMAGENET_STD, for_photographs, for_pixels


def picture(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (channels, height, width), dtype=np.uint8))


SIZES = [(375, 500), (480, 640), (427, 640), (640, 427), (333, 500), (300, 300), (100, 90), (150, 257), (300, 1001)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("filter_", FILTERS)
def test_the_crop_is_torchvisions_pixel_for_pixel(height: int, width: int, filter_: str) -> None:
    ours = replace(for_photographs(224), filter=filter_)
    theirs = v2.Compose([v2.Resize(256, FILTERS[filter_], antialias=True), v2.CenterCrop(224)])
    image = picture(3, height, width)
    torch.testing.assert_close(ours.fitted(image), theirs(image), rtol=0, atol=0)


def test_the_whole_path_is_torchvisions() -> None:
    ours, image = for_photographs(64), picture(3, 120, 90)
    theirs = v2.Compose(
        [
            v2.Resize(73, antialias=True),
            v2.CenterCrop(64),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    torch.testing.assert_close(ours.normalised(ours.fitted(image)[None])[0], theirs(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 1, 200), (3, 31, 17), (1, 17, 31), (3, 32, 32), (3, 500, 20)])
def test_every_fit_gives_the_size_from_any_shape(fit: str, shape: tuple[int, int, int]) -> None:
    preprocessing = replace(
        for_photographs(32), fit=fit, channels=shape[0], mean=(0.5,) * shape[0], std=(0.2,) * shape[0]
    )
    image = preprocessing.fitted(picture(*shape))
    assert image.shape == (shape[0], 32, 32)
    assert image.dtype == torch.uint8


def test_squash_is_torchvisions_resize_of_both_sides() -> None:
    image = picture(3, 50, 90)
    assert torch.equal(
        replace(for_photographs(32), fit="squash").fitted(image), v2.Resize([32, 32], antialias=True)(image)
    )


@pytest.mark.parametrize(("height", "width", "inner"), [(40, 80, (16, 32)), (80, 40, (32, 16)), (96, 32, (32, 11))])
def test_pad_keeps_the_whole_picture_in_the_middle_of_the_mean_colour(
    height: int, width: int, inner: tuple[int, int]
) -> None:
    image = picture(3, height, width)
    out = replace(for_photographs(32), fit="pad").fitted(image)
    expected = np.empty((3, 32, 32), np.uint8)
    expected[:] = np.round(np.array(IMAGENET_MEAN) * 255)[:, None, None]
    top, left = (32 - inner[0]) // 2, (32 - inner[1]) // 2
    small = v2.Resize(list(inner), antialias=True)(image)
    expected[:, top : top + inner[0], left : left + inner[1]] = small.numpy()
    np.testing.assert_array_equal(out.numpy(), expected)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = picture(3, 32, 32)
    for fit in ("crop", "squash", "pad"):
        assert torch.equal(replace(for_photographs(32), resize=32, fit=fit).fitted(image), image)


def test_the_field_crops_7_eighths() -> None:
    assert for_photographs(224).resize == 256
    assert (for_photographs(224).mean, for_photographs(224).std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_normalisation_is_numpys() -> None:
    images = torch.stack([picture(3, 8, 8, seed) for seed in range(3)])
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = (images.numpy() / 255 - mean) / std
    before = images.clone()
    out = for_photographs(8).normalised(images)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(images, before), "the pixels themselves must stay"


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_measured_as_numpy_measures_them(channels: int) -> None:
    images = (torch.rand(50, channels, 8, 8) * torch.tensor([60.0, 200.0, 255.0])[:channels].view(1, -1, 1, 1)).byte()
    found = for_pixels(images)
    np.testing.assert_allclose(found.mean, images.numpy().mean(axis=(0, 2, 3)) / 255, atol=6e-5)
    np.testing.assert_allclose(found.std, images.numpy().std(axis=(0, 2, 3)) / 255, atol=1e-4)
    assert (found.channels, found.size, found.resize) == (channels, 8, 8)
    normal = found.normalised(images)
    np.testing.assert_allclose(normal.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std((0, 2, 3)), 1, atol=2e-3)


def test_images_without_contrast_are_not_divided_by_nothing() -> None:
    flat = torch.full((4, 1, 8, 8), 7, dtype=torch.uint8)
    assert torch.isfinite(for_pixels(flat).normalised(flat)).all()
