"""Mosaic: four images in one input, with the boxes and masks of each, the same for the same seed."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_mask
from PIL import Image
from shapes import labelled_shapes, shapes
from small import few_digits, killed_at, same, weights

from skipway.data.augment import Augmentation
from skipway.data.box_targets import NO_LABEL, BoxTargets, from_images
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import BatchSampler, ImageViews, StreamingLoader
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.tasks.detect.mosaic import Mosaic, random_quarters
from skipway.tasks.detect.task import Detect
from skipway.tasks.detect.transform import BoxTransform, MaskedBoxes
from skipway.training import loop
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import QUICK, SEGMENT_SCRATCH
from skipway.training.run_manifest import RunOptions

from .conftest import CPU, QUIET, TINY

SHOWN = Preprocessing(3, 128, 128, (0.5,) * 3, (0.25,) * 3, fit="pad", height=96)
SIZES = ((90, 120), (120, 90), (64, 64), (50, 100))
LEVELS = (20, 80, 180, 240)  # of blue, by which the pixels of an image are known; the mean colour is 128
DRAWN = Mosaic(BoxTransform(SHOWN, jitter=True, flip=True), 1.0)


def four_images() -> tuple[list[torch.Tensor], BoxTargets]:
    """Each with an ellipse of its own class, red 255, whose mask and box are known."""
    images, objects = [], []
    for label, ((height, width), level) in enumerate(zip(SIZES, LEVELS, strict=True)):
        left, top, right, bottom = width // 4, height // 4, width // 4 + width // 2, height // 4 + height // 3
        rows, columns = np.mgrid[0:height, 0:width] + 0.5
        across = (columns - (left + right) / 2) / ((right - left) / 2)
        down = (rows - (top + bottom) / 2) / ((bottom - top) / 2)
        inside = across**2 + down**2 <= 1
        image = np.zeros((3, height, width), dtype=np.uint8)
        image[0], image[2] = np.where(inside, 255, 0), level
        images.append(torch.from_numpy(image))
        mask = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
        objects.append([((left, top, right, bottom), label, False, float(inside.sum()), mask)])
    return images, from_images(objects, SIZES)


def rectangles() -> tuple[list[torch.Tensor], BoxTargets]:
    """As `four_images`, with the whole box red."""
    images, targets = four_images()
    for image, (left, top, right, bottom) in zip(images, targets.boxes.astype(int), strict=True):
        image[0, top:bottom, left:right] = 255
    return images, targets


def belonging(pixels: torch.Tensor, place: int) -> torch.Tensor:
    """bool (H, W): the pixels of the image at `place`."""
    return (pixels[2].int() - LEVELS[place]).abs() <= 3


def test_boxes_are_where_the_rectangles_of_all_four_images_are() -> None:
    images, targets = rectangles()
    views, seen = [(image, DRAWN.read(targets, i)) for i, image in enumerate(images)], Counter[int]()
    for seed in range(60):
        torch.manual_seed(seed)
        pixels, found = DRAWN.combined(views)
        assert pixels.shape == (3, 96, 128)
        for box, label in zip(found.boxes, found.labels.tolist(), strict=True):
            if label == NO_LABEL:
                continue
            rows, columns = torch.nonzero((pixels[0] > 190) & belonging(pixels, label), as_tuple=True)
            looked = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (looked - box).abs().max() <= 1.5
            seen[label] += 1
    assert all(seen[label] >= 40 for label in range(4)), "hardly visible boxes alone are given up"


def test_a_box_is_dropped_only_where_less_than_a_quarter_of_it_is_left() -> None:
    """Of the rectangle's pixels at the largest scale, twice that of the whole input."""
    images, targets = rectangles()
    views, dropped = [(image, DRAWN.read(targets, i)) for i, image in enumerate(images)], 0
    for seed in range(60):
        torch.manual_seed(seed)
        pixels, found = DRAWN.combined(views)
        for place in set(range(4)) - set(found.labels.tolist()):
            dropped += 1
            height, width = SIZES[place]
            largest = (
                np.prod(targets.boxes[place, 2:] - targets.boxes[place, :2]) * (2 * min(96 / height, 128 / width)) ** 2
            )
            assert ((pixels[0] > 190) & belonging(pixels, place)).sum() < 0.25 * largest
    assert dropped, "none was"


def test_every_image_has_a_quarter_of_its_own() -> None:
    images, targets = rectangles()
    views = [(image, DRAWN.read(targets, i)) for i, image in enumerate(images)]
    for seed in range(20):
        torch.manual_seed(seed)
        expected = random_quarters((96, 128))
        torch.manual_seed(seed)
        pixels, _ = DRAWN.combined(views)
        whole = torch.zeros(96, 128, dtype=torch.int)
        for place, (top, left, height, width) in enumerate(expected):
            inside = torch.zeros(96, 128, dtype=torch.bool)
            inside[top : top + height, left : left + width] = True
            whole += inside
            assert belonging(pixels, place).sum() > 50, "it is there"
            assert not (belonging(pixels, place) & ~inside).any(), "and nowhere else"
            assert height >= 24 and width >= 32
        assert (whole == 1).all(), "the quarters cover the input once"


def test_masks_are_the_pixels_of_their_objects() -> None:
    images, targets = four_images()
    transform = replace(DRAWN, alone=replace(DRAWN.alone, masks=True))
    views, seen = [(image, transform.read(targets, i)) for i, image in enumerate(images)], 0
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, found = transform.combined(views)
        assert isinstance(found, MaskedBoxes)
        assert found.masks.shape == (4, 96, 128)
        for mask, label in zip(found.masks.bool(), found.labels.tolist(), strict=True):
            if label == NO_LABEL:
                continue
            red = (pixels[0] > 127) & belonging(pixels, label)
            assert (red != mask).sum() <= 0.15 * red.sum() + 4, "they differ at the border alone"
            seen += 1
    assert seen > 50


def test_others_are_drawn_evenly_and_as_often_as_is_asked() -> None:
    images, targets = rectangles()
    transform, combined, others = replace(DRAWN, probability=0.3), 0, Counter[int]()

    def opened(place: int) -> tuple:
        asked.append(place)
        return images[place], transform.read(targets, place)

    for seed in range(400):
        torch.manual_seed(seed)
        asked: list[int] = []
        _, found = transform.view(opened, 2, 4)
        assert asked[0] == 2 and len(asked) in (1, 4)
        assert found.boxes.shape == (4, 4), "an image alone has as many rows, for they are collated"
        combined += len(asked) == 4
        others.update(asked[1:])
    assert 90 <= combined <= 150
    assert all(70 / 400 < others[place] / others.total() < 130 / 400 for place in range(4))


def loader_of(split: Split, transform: Mosaic | BoxTransform, workers: int = 0) -> StreamingLoader:
    order = BatchSampler(len(split), 4, seed=3)
    return StreamingLoader(split, order, SHOWN, Augmentation(), torch.device("cpu"), workers, transform)


def equal(one: list, other: list) -> bool:
    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip((x[0], *x[1]), (y[0], *y[1]), strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_equal_seeds_give_equal_batches_from_workers_from_files_and_from_any_step() -> None:
    split, transform = shapes(12).train, replace(DRAWN, probability=0.7)
    batches = list(loader_of(split, transform).epoch(1))
    assert equal(batches, list(loader_of(split, transform).epoch(1)))
    assert equal(batches, list(loader_of(split, transform, workers=1).epoch(1)))
    assert equal(batches[2:], list(loader_of(split, transform).epoch(1, start=2)))
    assert not equal(batches, list(loader_of(split, transform).epoch(2)))
    files = []
    for pixels in split.items:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        files.append(file.getvalue())
    assert equal(batches, list(loader_of(replace_items(split, files), transform).epoch(1)))


def replace_items(split: Split, items: list[bytes]) -> Split:
    return Split(items, split.targets, split.names)


def test_without_the_option_an_image_is_transformed_alone_with_the_numbers_of_its_seed() -> None:
    split = shapes(4).train
    options = {"model": TINY.model, "crop": "scale", "flip": True, "mosaic": TINY.mosaic}
    transform = Detect(("a", "b")).transform(SHOWN, options)
    assert isinstance(transform, BoxTransform)
    for place in range(4):
        pixels, found = ImageViews(split, SHOWN, transform)[place, 40 + place]
        torch.manual_seed(40 + place)
        image = torch.from_numpy(split.items[place]).permute(2, 0, 1)
        alone, expected = BoxTransform(SHOWN, True, True)(image, (split.targets.item(place), None))
        assert torch.equal(pixels, alone)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_killed_run_with_mosaic_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    dataset, recipe = shapes(4, val=1), replace(TINY, batch=2, iterations=2, mosaic=0.8)

    def fit(out: Path, resume: bool = False, drawn: float = 0.8) -> Path:
        changed = replace(recipe, mosaic=drawn)
        return loop.train(dataset, changed, out, CPU, QUIET, resume, RunOptions(checkpoint_steps=1))

    whole, cut = fit(tmp_path / "whole"), tmp_path / "cut"
    with killed_at(2):
        fit(cut)
    fit(cut, resume=True)
    assert same(weights(whole), weights(cut))
    assert not same(weights(whole), weights(fit(tmp_path / "off", drawn=0.0))), "the recipe's field does nothing"


def test_masks_of_four_images_are_learnt_from(tmp_path: Path) -> None:
    images, targets = four_images()
    items = [image.permute(1, 2, 0).contiguous().numpy() for image in images]
    dataset = Dataset("ellipses", ("a", "b", "c", "d"), Split(items, targets, ["a", "b", "c", "d"]))
    recipe = replace(TINY, model="maskrcnn_resnet18d_x0_5", batch=2, iterations=1, mosaic=1.0, val=0.0)
    run = loop.train(dataset, recipe, tmp_path / "run", CPU, QUIET)
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


@pytest.mark.parametrize(
    ("dataset", "recipe", "message"),
    [
        (few_digits, QUICK, "--mosaic is for boxes, not for one class an image"),
        (labelled_shapes, replace(SEGMENT_SCRATCH, model="unet_resnet18d_x0_5_light", size=96), "not for label maps"),
        (shapes, replace(TINY, crop="none"), "--mosaic draws scale and place of each image: give --crop scale"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused_in_one_line(
    dataset: object, recipe: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SkipwayError, match=message) as refused:
        loop.train(dataset(), replace(recipe, mosaic=0.5), tmp_path / "run", CPU, QUIET)  # type: ignore
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_probability_is_at_most_one() -> None:
    with pytest.raises(SkipwayError, match=r"--mosaic must be at most 1, and is 1\.5"):
        validate_recipe(replace(TINY, mosaic=1.5))
