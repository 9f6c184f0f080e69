"""Preprocessing against torchvision's pipeline and NumPy."""

import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from skipway.data import fitting
from skipway.data import preprocess as module
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, for_photographs, for_pixels
from skipway.data.resize import Filter


def picture(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (channels, height, width), dtype=np.uint8))


SIZES = [(375, 500), (480, 640), (427, 640), (640, 427), (333, 500), (300, 300), (100, 90), (150, 257), (300, 1001)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
def test_the_crop_is_torchvisions_pixel_for_pixel(height: int, width: int, filter_: str) -> None:
    ours = replace(for_photographs(224), filter=filter_)
    theirs = v2.Compose([v2.Resize(256, v2.InterpolationMode(filter_), antialias=True), v2.CenterCrop(224)])
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


def test_crops_of_random_sizes_are_torchvisions_up_to_the_longest_shape() -> None:
    rng = np.random.default_rng(0)
    theirs = v2.Compose([v2.Resize(36, antialias=True), v2.CenterCrop(32)])
    for _ in range(60):
        shorter = int(rng.integers(1, 40))
        longer = int(rng.integers(shorter, fitting.MAX_ASPECT * shorter + 1))
        shape = (shorter, longer) if rng.random() < 0.5 else (longer, shorter)
        image = picture(3, *shape)
        torch.testing.assert_close(replace(for_photographs(32), resize=36).fitted(image), theirs(image), rtol=0, atol=0)


def waves(height: int, width: int) -> Tensor:
    """Three channels that rise and fall slowly along both sides, brightest in the middle."""
    down = np.sin(np.linspace(0, np.pi, height))[:, None]
    across = np.sin(np.linspace(0, np.pi, width) + np.linspace(0, 20 * np.pi, width))[None]
    return torch.from_numpy(np.stack([127 + 120 * down * across] * 3).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(20, 1201), (20, 1200), (1501, 21), (9, 250)])
def test_the_crop_of_a_longer_shape_is_the_middle_that_resizing_all_of_it_gives(height: int, width: int) -> None:
    assert max(height, width) > fitting.MAX_ASPECT * min(height, width)
    theirs = v2.Compose([v2.Resize(36, antialias=True), v2.CenterCrop(32)])
    image = waves(height, width)
    ours = replace(for_photographs(32), resize=36).fitted(image)
    assert (ours.int() - theirs(image).int()).abs().max() <= 12  # less than a pixel of the long side apart


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (2, 60_000)])
def test_a_line_of_pixels_needs_no_memory_for_what_the_crop_leaves_out(fit: str, shape: tuple[int, int]) -> None:
    resized: list[int] = []
    real = module.resize

    def measured(image: Tensor, height: int, width: int, mode: Filter, antialias: bool) -> Tensor:
        resized.append(height * width)
        return real(image, height, width, mode, antialias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "resize", measured)
        image = replace(for_photographs(224), fit=fit).fitted(picture(3, *shape))
    assert image.shape == (3, 224, 224)
    assert max(resized) <= 256 * 256 * (fitting.MAX_ASPECT + 1)


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


def test_the_background_is_part_of_the_record(tmp_path: Path) -> None:
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "PNG")
    (tmp_path / "a.png").write_bytes(clear.getvalue())
    assert for_photographs(8).open(clear.getvalue(), "a").unique().tolist() == [255], (
        "white unless another is asked for"
    )
    record = replace(for_photographs(8), background=(10, 20, 30))
    again = Preprocessing(**asdict(record))
    for item in (clear.getvalue(), tmp_path / "a.png"):
        assert again.open(item, "a")[:, 4, 4].tolist() == [10, 20, 30]
        assert again.decoded(item, "a").shape == (3, 8, 8)
