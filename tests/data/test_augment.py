"""Augmentation against slow loops in NumPy that are given the same draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from skipway.data.augment import (
    Augmentation,
    augment_image,
    crop_and_flip,
    cut_out,
    make_square,
    pad_images,
    shift_colour,
)
from skipway.data.preprocess import for_photographs


def pictures(count: int, channels: int, height: int, width: int) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, height, width), dtype=np.uint8))


def test_padding_mirrors_the_edges_as_numpy_does() -> None:
    images = pictures(3, 2, 6, 5)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect").transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(pad_images(images, 4).numpy(), expected)
    np.testing.assert_array_equal(pad_images(images, 0).numpy(), images.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("pad", "size"), [(4, 8), (2, 6), (0, 8)])
def test_crop_and_flip_is_a_slow_loop(flip: bool, pad: int, size: int) -> None:
    images, picked = pictures(5, 3, 8, 8), torch.tensor([4, 0, 0, 2, 1, 3, 3])
    edged = pad_images(images, pad)
    torch.manual_seed(7)
    out = crop_and_flip(edged, picked, size, flip)

    torch.manual_seed(7)
    room = 8 + 2 * pad - size + 1
    top, left = torch.randint(room, (7, 1)), torch.randint(room, (7, 1))
    mirrored = torch.rand(7, 1) < 0.5 if flip else torch.zeros(7, 1, dtype=torch.bool)
    expected = np.empty((7, 3, size, size), np.uint8)
    for i, image in enumerate(picked.tolist()):
        y, x = int(top[i]), int(left[i])
        window = edged.numpy()[image, y : y + size, x : x + size]
        expected[i] = (window[:, ::-1] if mirrored[i] else window).transpose(2, 0, 1)
    np.testing.assert_array_equal(out.numpy(), expected)
    assert not flip or 0 < int(mirrored.sum()) < 7, "both cases must have come up"
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_every_window_and_both_sides_come_up() -> None:
    places = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)  # the corner pixel tells which window it was
    out = crop_and_flip(pad_images(places, 0), torch.zeros(2000, dtype=torch.long), 2, flip=True)
    corners = np.unique(out[:, 0, 0, 0].numpy(), return_counts=True)
    assert corners[0].tolist() == [0, 1, 2, 3, 4, 5]
    mirrored = (out[:, 0, 0, 0] > out[:, 0, 0, 1]).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=5 * 0.5 / 2000**0.5)


@pytest.mark.parametrize("side", [1, 3, 4])
def test_cut_out_is_a_slow_loop(side: int) -> None:
    images = torch.randn(20, 2, 9, 7)
    expected = images.numpy().copy()
    torch.manual_seed(3)
    out = cut_out(images.clone(), side).numpy()
    torch.manual_seed(3)
    rows, columns = torch.randint(9, (20, 1, 1, 1)).flatten(), torch.randint(7, (20, 1, 1, 1)).flatten()
    for i in range(20):
        y, x = int(rows[i]) - side // 2, int(columns[i]) - side // 2
        expected[i, :, max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0
    np.testing.assert_array_equal(out, expected)


def test_cut_out_takes_its_square_and_less_only_at_the_edges() -> None:
    areas = (cut_out(torch.ones(500, 1, 16, 16), 4) == 0).sum((1, 2, 3))
    assert int(areas.max()) == 16
    assert int(areas.min()) >= 4
    # A centre is drawn anywhere: 13 of 16 places a side leave the square whole.
    assert (areas == 16).float().mean().item() == pytest.approx((13 / 16) ** 2, abs=0.1)


def test_colours_shift_along_the_published_axes() -> None:
    # The values and axes of AlexNet's authors as the field passes them on (fb.resnet.torch, datasets/imagenet.lua).
    values = np.array([0.2175, 0.0188, 0.0045])
    axes = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    images = pictures(6, 3, 4, 5)
    torch.manual_seed(5)
    out = shift_colour(images)
    torch.manual_seed(5)
    alpha = torch.randn(6, 3).numpy() * 0.1
    for i in range(6):
        shift = sum(alpha[i, j] * values[j] * axes[:, j] for j in range(3))
        expected = np.clip(images.numpy()[i] + 255 * shift[:, None, None], 0, 255)
        np.testing.assert_allclose(out[i].numpy(), expected, atol=0.51)
    assert out.dtype == torch.uint8
    assert not torch.equal(out, images)


@pytest.mark.parametrize("crop", ["none", "pad", "resized", "scale"])
@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (32, 32), (20, 21), (300, 33)])
def test_every_crop_of_any_image_has_the_size(crop: str, height: int, width: int) -> None:
    for _ in range(5):
        view = augment_image(pictures(1, 3, height, width)[0], for_photographs(32), Augmentation(crop, flip=True))
        assert view.shape == (3, 32, 32)
        assert view.dtype == torch.uint8


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("crop", ["none", "pad", "resized", "scale"])
@pytest.mark.parametrize(("height", "width"), [(60, 90), (33, 300), (3, 2)])
def test_every_crop_suits_every_fit(crop: str, fit: str, height: int, width: int) -> None:
    preprocessing = replace(for_photographs(32), fit=fit)
    view = augment_image(pictures(1, 3, height, width)[0], preprocessing, Augmentation(crop, flip=True))
    assert view.shape == (3, 32, 32)


def test_a_fit_that_keeps_the_picture_whole_does_so_before_a_crop() -> None:
    """A white picture, twice as wide as high: padded, half of the square is the mean; squashed, all is white."""
    white = torch.full((3, 50, 100), 255, dtype=torch.uint8)
    padded_square = make_square(white, replace(for_photographs(32), fit="pad"))
    assert padded_square.shape == (3, 100, 100)
    assert torch.equal(padded_square[:, 25:75], white), "at its own resolution"
    mean = (torch.tensor(for_photographs(32).mean) * 255).round()
    assert torch.equal(padded_square[:, 0, 0].float(), mean)
    assert torch.equal(padded_square[:, 76, 99].float(), mean)
    squashed = make_square(white, replace(for_photographs(32), fit="squash"))
    assert squashed.shape == (3, 71, 71), "as many pixels as before: the root of 5,000"
    assert make_square(white, for_photographs(32)) is white


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("crop", ["resized", "scale"])
def test_crops_show_margins_where_the_fit_pads_and_only_there(crop: str, fit: str) -> None:
    """Half of the padded square is margin; windows lie over its middle more often than over its edges."""
    picture, preprocessing = torch.full((3, 40, 80), 255, dtype=torch.uint8), replace(for_photographs(16), fit=fit)
    views = torch.stack([augment_image(picture, preprocessing, Augmentation(crop)) for _ in range(200)])
    shown = (views[:, 0] > 250).float().mean().item()
    assert 0.45 < shown < 0.75 if fit == "pad" else shown == 1


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_no_crop_is_what_evaluation_sees_whatever_the_fit(fit: str) -> None:
    image, preprocessing = pictures(1, 3, 50, 70)[0], replace(for_photographs(32), fit=fit)
    assert torch.equal(augment_image(image, preprocessing, Augmentation("none")), preprocessing.fitted(image))


def test_the_side_of_the_crops_is_small_for_the_first_epochs() -> None:
    assert [Augmentation(small=24, small_epochs=2).side(32, epoch) for epoch in range(4)] == [24, 24, 32, 32]
    assert Augmentation().side(32, 0) == 32


@pytest.mark.parametrize("crop", ["pad", "resized", "scale"])
def test_a_view_follows_the_random_state_and_nothing_else(crop: str) -> None:
    image, preprocessing, augmentation = pictures(1, 3, 50, 70)[0], for_photographs(32), Augmentation(crop, flip=True)

    def view(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augment_image(image, preprocessing, augmentation)

    assert torch.equal(view(1), view(1))
    assert len({view(seed).numpy().tobytes() for seed in range(8)}) > 5


def test_no_crop_is_what_evaluation_sees_or_its_mirror() -> None:
    image, preprocessing = pictures(1, 3, 50, 70)[0], for_photographs(32)
    upright = preprocessing.fitted(image)
    assert torch.equal(augment_image(image, preprocessing, Augmentation("none")), upright)
    views = [augment_image(image, preprocessing, Augmentation("none", flip=True)) for _ in range(40)]
    turned = [torch.equal(view, upright.flip(2)) for view in views]
    assert all(turned[i] or torch.equal(view, upright) for i, view in enumerate(views))
    assert 8 <= sum(turned) <= 32


def test_the_scale_crop_resizes_the_shorter_side_to_the_papers_range() -> None:
    # A ramp from left to right: the steps between neighbours tell how far the image was scaled.
    ramp = torch.linspace(0, 255, 512).byte().expand(3, 256, 512).contiguous()
    preprocessing, spans = for_photographs(224), []
    for _ in range(60):
        view = augment_image(ramp, preprocessing, Augmentation("scale"))[0, 0].float()
        spans.append(float(view[-1] - view[0]))
    sides = 255 * 224 / (np.array(spans) * 2)  # the shorter side that shows such a span in 224 pixels
    assert sides.min() >= 255 * 0.98
    assert sides.max() <= 480 * 1.03
    assert sides.min() < 290
    assert sides.max() > 440


def test_the_pad_crop_is_a_window_of_the_padded_image() -> None:
    image, preprocessing = pictures(1, 3, 16, 16)[0], replace(for_photographs(16), resize=16)
    edged = np.pad(image.numpy(), ((0, 0), (4, 4), (4, 4)))
    windows = {edged[:, y : y + 16, x : x + 16].tobytes() for y in range(9) for x in range(9)}
    seen = {augment_image(image, preprocessing, Augmentation("pad")).numpy().tobytes() for _ in range(60)}
    assert seen <= windows
    assert len(seen) > 20


def test_the_resized_crop_covers_inceptions_areas() -> None:
    # Pixels that tell their place: the spans of a view tell the area and aspect that it was cut with.
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    image = torch.stack([rows, columns, rows]).byte()
    areas = []
    for _ in range(100):
        view = augment_image(image, for_photographs(32), Augmentation("resized")).float()
        areas.append(float((view[0, -1, 0] - view[0, 0, 0]) * (view[1, 0, -1] - view[1, 0, 0])) / 200**2)
    assert min(areas) > 0.05
    assert min(areas) < 0.2
    assert max(areas) > 0.7


def test_a_flip_is_torchvisions() -> None:
    image, preprocessing = pictures(1, 3, 16, 16)[0], replace(for_photographs(16), resize=16)
    torch.manual_seed(0)
    while torch.equal(view := augment_image(image, preprocessing, Augmentation("none", flip=True)), image):
        pass
    assert torch.equal(view, tv.horizontal_flip(image))
