"""Boxes follow their images: into the network's input and back, through every augmentation."""

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from skipway.data.box_targets import NO_LABEL, BoxTargets, from_images
from skipway.data.preprocess import Preprocessing
from skipway.tasks.crop_window import Window
from skipway.tasks.detect.geometry import to_image, to_input
from skipway.tasks.detect.transform import BoxTransform, MaskedBoxes

SIDES = st.integers(1, 3000)


def record(height: int, width: int, fit: str = "pad") -> Preprocessing:
    return Preprocessing(3, width, width, (0.5,) * 3, (0.25,) * 3, fit=fit, height=height)  # type: ignore[arg-type]


def one_box(box: tuple[int, int, int, int], height: int, width: int) -> BoxTargets:
    return from_images([[(box, 0, False, 1.0, None)]], [(height, width)])


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.integers(32, 700), st.integers(32, 700), st.sampled_from(["pad", "squash"]), st.data())
def test_a_box_goes_into_the_input_and_back_within_half_a_pixel(
    height: int, width: int, rows: int, columns: int, fit: str, data: st.DataObject
) -> None:
    edges = [st.floats(0, width, width=32), st.floats(0, height, width=32)] * 2
    box = torch.tensor([data.draw(edge) for edge in edges]).sort().values[[0, 2, 1, 3]]
    box = torch.minimum(box, torch.tensor([width, height] * 2))
    preprocessing = record(rows, columns, fit)
    inside = to_input(box, preprocessing, (height, width))
    assert (inside >= -1e-2).all() and (inside <= torch.tensor([columns, rows] * 2) + 1e-2).all()
    assert (to_image(inside, preprocessing, (height, width)) - box).abs().max() < 0.5


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (33, 200), (64, 64), (70, 50)])
def test_a_drawn_rectangle_lies_where_its_box_says_in_the_fitted_image(height: int, width: int) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    left, top, right, bottom = width // 4, height // 3, width // 4 + width // 2, height // 3 + height // 3 + 1
    image[:, top:bottom, left:right] = 255
    preprocessing = record(96, 128)
    fitted = preprocessing.fitted(image)
    expected = to_input(torch.tensor([left, top, right, bottom]).float(), preprocessing, (height, width))
    assert (found_rectangle(fitted) - expected).abs().max() <= 1.0


def found_rectangle(image: torch.Tensor, level: int = 190) -> torch.Tensor:
    """The box of the bright pixels, found in the pixels alone."""
    rows, columns = torch.nonzero(image[0] > level, as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("jitter", [False, True])
def test_boxes_follow_every_augmentation(jitter: bool, flip: bool) -> None:
    """A bright rectangle is looked for in the augmented pixels; it must be where the augmented box says."""
    height, width = 90, 120
    image = torch.full((3, height, width), 10, dtype=torch.uint8)
    image[:, 30:60, 40:90] = 255
    transform = BoxTransform(record(96, 128), jitter, flip)
    target, seen, mirrored = one_box((40, 30, 90, 60), height, width).item(0), 0, 0
    for seed in range(60):
        torch.manual_seed(seed)
        pixels, turned = transform(image, (target, None))
        assert pixels.shape == (3, 96, 128)
        if turned.labels[0] == NO_LABEL:
            assert (pixels[0] > 190).float().mean() < 0.1, "only boxes that are hardly visible are given up"
            continue
        seen += 1
        mirrored += int(found_rectangle(pixels)[0] != turned.boxes[0, 0].round())
        assert (found_rectangle(pixels) - turned.boxes[0]).abs().max() <= 1.5
    assert seen >= 50


def test_a_decoded_image_that_was_made_smaller_keeps_its_boxes() -> None:
    """The loader may hold images downscaled: boxes are in pixels of the original."""
    target = one_box((40, 30, 90, 60), 90, 120).item(0)
    transform = BoxTransform(record(96, 128), False, False)
    whole = transform(torch.zeros(3, 90, 120, dtype=torch.uint8), (target, None))[1]
    half = transform(torch.zeros(3, 45, 60, dtype=torch.uint8), (target, None))[1]
    assert torch.allclose(whole.boxes, half.boxes, atol=0.5)


def test_a_crop_keeps_a_box_whenever_it_can() -> None:
    target = one_box((2, 2, 14, 12), 480, 640).item(0)
    transform = BoxTransform(record(96, 128), True, False)
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    windows = []
    for seed in range(40):
        torch.manual_seed(seed)
        windows.append(transform.draw((480, 640), target.boxes, (96, 128)))
    held = [(w.of_boxes(target.boxes, (480, 640))[0, :2] >= -3).all() for w in windows]
    assert sum(map(bool, held)) >= 38
    assert image.shape == (3, 480, 640)


def test_a_window_is_the_resized_image_seen_from_its_corner() -> None:
    window = Window(200, 400, 50, -30)
    boxes = torch.tensor([[10.0, 20.0, 30.0, 40.0]])  # of an image of 100 x 200 pixels, resized by 2
    assert window.of_boxes(boxes, (100, 200)).tolist() == [[20 + 30, 40 - 50, 60 + 30, 80 - 50]]


def test_mirrored_twice_is_the_image_itself() -> None:
    target, image = one_box((40, 30, 90, 60), 90, 120).item(0), torch.arange(3 * 90 * 120).reshape(3, 90, 120)
    pixels = (image % 251).to(torch.uint8)
    transform = BoxTransform(record(90, 120), False, True)
    seeds = [seed for seed in range(20) if flips(seed)]
    torch.manual_seed(seeds[0])
    once, turned = transform(pixels, (target, None))
    assert not torch.equal(once, pixels)
    torch.manual_seed(seeds[0])
    twice, again = transform(once, (turned, None))
    assert torch.equal(twice, pixels)
    assert torch.equal(again.boxes, target.boxes)


def flips(seed: int) -> bool:
    torch.manual_seed(seed)
    return bool(torch.rand(()) < 0.5)


def test_crowds_and_boxes_outside_are_not_learnt() -> None:
    objects = [((10, 10, 30, 30), 1, True, 400.0, None), ((40, 40, 60, 60), 0, False, 400.0, None)]
    target = from_images([objects], [(90, 120)]).item(0)
    labels = BoxTransform(record(96, 128), False, False)(torch.zeros(3, 90, 120, dtype=torch.uint8), (target, None))[
        1
    ].labels
    assert labels.tolist() == [NO_LABEL, 0]


def test_targets_are_taken_and_relabelled_by_image() -> None:
    """Against plain lists."""
    rng = np.random.default_rng(0)
    images = [
        [(tuple(rng.integers(0, 50, 4)), int(rng.integers(3)), False, 1.0, None) for _ in range(n)] for n in (2, 0, 5)
    ]
    targets = from_images(images, [(50, 50)] * 3)
    taken = targets.take(np.array([2, 1, 2]))
    assert taken.counted.tolist() == [5, 0, 5]
    assert taken.boxes.tolist() == [list(map(float, one[0])) for one in (*images[2], *images[2])]
    assert targets.relabel(np.array([2, 0, 1]), 3).labels.tolist() == [
        [2, 0, 1][one[1]] for image in images for one in image
    ]
    assert targets.counts(3).tolist() == [sum(any(o[1] == c for o in image) for image in images) for c in range(3)]
    assert targets.digest() != targets.take(np.array([1, 0, 2])).digest()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("jitter", [False, True])
def test_masks_follow_the_pixels_that_they_mark(jitter: bool, flip: bool) -> None:
    """The mask of a bright disc is, after any augmentation, the bright pixels."""
    rows, columns = np.mgrid[0:90, 0:120]
    disc = (((rows - 45) ** 2 + (columns - 65) ** 2) <= 25**2).astype(np.uint8)
    image = torch.from_numpy(np.where(disc, 255, 10).astype(np.uint8)).expand(3, -1, -1).contiguous()
    encoded = coco_mask.encode(np.asfortranarray(disc))
    targets = from_images([[((40, 20, 91, 71), 0, False, float(disc.sum()), encoded)]], [(90, 120)])
    transform = BoxTransform(record(96, 128), jitter, flip, masks=True)
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, found = transform(image, transform.read(targets, 0))
        assert isinstance(found, MaskedBoxes)
        bright = pixels[0] > 132
        assert found.masks.shape == (1, 96, 128)
        differing = (bright != found.masks[0].bool()).float().sum() / max(bright.sum(), 1)
        assert differing < 0.08, "they differ at the border alone"


def test_the_first_window_that_holds_the_centre_of_a_box_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 50 pixels of an image of 100: the box's centre is at (20, 20)."""
    places = iter([(50, 50), (0, 50), (0, 0), (50, 0), (10, 10)])
    drawn = []

    def next_window(*_: object) -> Window:
        drawn.append(Window(100, 100, *next(places)))
        return drawn[-1]

    monkeypatch.setattr("skipway.tasks.detect.transform.random_window", next_window)
    transform = BoxTransform(record(100, 100), jitter=True, flip=False)
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    assert transform.draw((100, 100), box, (50, 50)) == Window(100, 100, 0, 0)
    assert len(drawn) == 3
    assert transform.draw((100, 100), box[:0], (50, 50)) == Window(100, 100, 50, 0), "without boxes any will do"
