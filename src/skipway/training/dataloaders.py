"""Builds preprocessing, training batches and validation images of a run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from torch import Tensor

from skipway import models
from skipway.bundle import read_card
from skipway.data.augment import Augmentation
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import (
    IN_MEMORY_LIMIT,
    BatchSampler,
    InMemoryLoader,
    StreamingLoader,
    Transform,
    decode_all,
    decode_split,
    decoded_side,
    in_order,
)
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, for_pixels
from skipway.data.targets import Labels, map_labels
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.models.pretrained.weights import Pretrained
from skipway.tasks import Task
from skipway.training.distributed import SINGLE_PROCESS, Group
from skipway.training.recipes import Recipe

VALIDATION_BATCH = 500  # small images
LARGE_BATCH = 64  # photographs of at most USUAL_PIXELS; fewer of larger ones
USUAL_PIXELS = 224 * 224
JPEG_OVERSAMPLING = 2.0  # of photographs; the largest crops of training then still have the input's resolution
MEASURED = 256  # images, spread over train, for the mean and deviation of large images that are not RGB


@dataclass(frozen=True)
class Validation:
    """The validation split. `images`: all of them on the device, or None, where they are decoded each time."""

    split: Split
    preprocessing: Preprocessing
    images: Tensor | None
    workers: int

    @property
    def batch(self) -> int:
        """Images in each batch but the last."""
        if self.preprocessing.size <= models.SMALL:
            return VALIDATION_BATCH
        height, width = self.preprocessing.canvas
        return min(LARGE_BATCH, max(LARGE_BATCH * USUAL_PIXELS // (height * width), 1))

    def batches(self, share: slice = slice(None)) -> Iterator[Tensor]:
        """uint8 (B, C, *canvas), in order; only the batches in `share`."""
        if self.images is not None:
            yield from self.images.split(self.batch)[share]
        else:
            yield from in_order(self.split, self.preprocessing, self.batch, self.workers, share)

    def targets(self, start: int, end: int) -> Labels:
        """The annotations of the images from `start` to `end`."""
        return self.split.targets.take(np.arange(start, end)).tensor()


def batch_sampler(dataset: Dataset, task: Task, recipe: Recipe, group: Group = SINGLE_PROCESS) -> BatchSampler:
    """The order of training images: shuffled or, with balance "sampler", drawn with classes equally likely."""
    weights = task.sampling_weights(dataset) if recipe.balance == "sampler" else None
    return BatchSampler(len(dataset.train), recipe.batch, recipe.seed, weights, group.rank, group.world)


def build_loaders(
    dataset: Dataset,
    task: Task,
    recipe: Recipe,
    channels: int,
    size: int,
    reference: Preprocessing | None,
    hardware: Hardware,
    console: Console,
    group: Group = SINGLE_PROCESS,
) -> tuple[Preprocessing, InMemoryLoader | StreamingLoader, Validation | None]:
    """Preprocessing, training batches and validation for images of `size` pixels a side.

    reference: the preprocessing of the pretrained weights, which is followed; without it, photographs are preprocessed
    as is customary for ImageNet, and small images with their own mean and deviation.
    """
    augmentation = Augmentation(
        recipe.crop, recipe.pad, recipe.flip, recipe.cutout, recipe.colour, recipe.small, recipe.small_epochs
    )
    order = batch_sampler(dataset, task, recipe, group)
    height, width = task.canvas(dataset, size)
    record = replace(unnormalised(recipe, channels, width), height=height if height != width else 0)
    fixed = task.preprocessing_for(record)
    fits = len(dataset.train) * channels * size * size <= IN_MEMORY_LIMIT and height == width
    if size > models.SMALL or not fits or not task.in_memory or recipe.crop in ("resized", "scale"):
        preprocessing = fixed or match_preprocessing(for_large(dataset.train, record), reference)
        transform = task.transform(preprocessing, vars(recipe))
        if transform is None:  # otherwise boxes or masks are in pixels of the whole image
            preprocessing = replace(preprocessing, jpeg_oversampling=JPEG_OVERSAMPLING)
        return preprocessing, *build_streaming_loaders(
            dataset, order, preprocessing, augmentation, transform, hardware, console
        )
    if not isinstance(dataset.train.items, np.ndarray):
        console.print(f"decoding {len(dataset.train):,} images into memory")
    if fixed:
        images, preprocessing = decode_all(dataset.train, fixed), fixed
    else:
        images, preprocessing = load_small_images(dataset.train, record, reference)
    targets = map_labels(lambda t: t.to(hardware.device), dataset.train.targets.tensor())
    batches = InMemoryLoader(images.to(hardware.device), targets, order, preprocessing, augmentation)
    val_images = decode_all(dataset.val, preprocessing).to(hardware.device) if dataset.val else None
    validation = Validation(dataset.val, preprocessing, val_images, 0) if dataset.val else None
    return preprocessing, batches, validation


def build_streaming_loaders(
    dataset: Dataset,
    order: BatchSampler,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    transform: Transform | None,
    hardware: Hardware,
    console: Console,
) -> tuple[StreamingLoader, Validation | None]:
    """Training batches and validation for photographs: decoded once where they fit into memory, else in each epoch.

    On a CPU, batches of decoded images are made by the training process: worker processes would take cores from it in
    the middle of its operations, which costs more than their work (docs/log.md).
    """
    train, workers = dataset.train, hardware.workers
    limit = min(IN_MEMORY_LIMIT, (hardware.memory() or IN_MEMORY_LIMIT) // 8) // order.world  # every process holds them
    side = decoded_side(train, preprocessing.channels, preprocessing.size, limit)
    if side:
        console.print(f"decoding {len(train):,} images into memory")
        train = decode_split(train, preprocessing, side)
        workers = 0 if hardware.device.type == "cpu" else workers
    batches = StreamingLoader(train, order, preprocessing, augmentation, hardware.device, workers, transform)
    if dataset.val is None:
        return batches, None
    height, width = preprocessing.canvas
    fits = len(dataset.val) * preprocessing.channels * height * width <= limit
    val_images = decode_all(dataset.val, preprocessing).to(hardware.device) if fits else None
    return batches, Validation(dataset.val, preprocessing, val_images, hardware.workers)


def unnormalised(recipe: Recipe, channels: int, size: int) -> Preprocessing:
    """The recipe's preprocessing without a margin, its mean and deviation not yet set."""
    red, green, blue = recipe.background
    half = (0.5,) * channels
    return Preprocessing(channels, size, size, half, half, fit=recipe.fit, background=(red, green, blue))


def without_margins(record: Preprocessing) -> Preprocessing:
    """`record` with "squash" instead of "pad": for measuring the mean, because padding is filled with the mean."""
    return replace(record, fit="squash") if record.fit == "pad" else record


def load_small_images(
    split: Split, record: Preprocessing, reference: Preprocessing | None
) -> tuple[Tensor, Preprocessing]:
    """Every image, uint8 (N, C, size, size), and `record` with their mean and deviation, or the reference's."""
    images = decode_all(split, without_margins(record))
    own = for_pixels(images)
    preprocessing = match_preprocessing(replace(record, mean=own.mean, std=own.std), reference)
    return decode_all(split, preprocessing) if record.fit == "pad" else images, preprocessing


def for_large(split: Split, record: Preprocessing) -> Preprocessing:
    """`record` with the customary margin, and ImageNet's mean and deviation; for other than RGB those of a sample."""
    record = replace(record, resize=round(record.size * 256 / 224))
    if record.channels == 3:
        return replace(record, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    sample = split.take(np.linspace(0, len(split) - 1, min(MEASURED, len(split))).astype(int))
    own = for_pixels(decode_all(sample, without_margins(record)))
    return replace(record, mean=own.mean, std=own.std)


def pretrained_preprocessing(recipe: Recipe, pretrained: Pretrained | None) -> Preprocessing | None:
    """The preprocessing of pretrained weights, from their bundle's card or their record; None: not known.

    Raises BundleError for a changed bundle, SkipwayError for one of another network.
    """
    folder = Path(recipe.pretrained)
    if pretrained and folder.is_dir():
        card = read_card(folder)
        if card.network["name"] not in (recipe.model, models.BODY_OF.get(recipe.model)):
            raise SkipwayError(f"{folder} holds {card.network['name']}, not {recipe.model}: choose it as --model")
        return Preprocessing(**card.preprocessing)
    record = pretrained.record if pretrained else None
    if record is None:
        return None
    filter_: Literal["bicubic", "bilinear"] = "bicubic" if record.interpolation == "bicubic" else "bilinear"
    return Preprocessing(len(record.mean), record.size, record.resize, record.mean, record.std, filter=filter_)


def match_preprocessing(preprocessing: Preprocessing, reference: Preprocessing | None) -> Preprocessing:
    """`preprocessing` with the mean and deviation of `reference` and, for photographs, its filter and margin."""
    if reference is None or len(reference.mean) != preprocessing.channels:
        return preprocessing
    normalised = replace(preprocessing, mean=tuple(reference.mean), std=tuple(reference.std))
    if preprocessing.resize == preprocessing.size:  # small images are not cropped, as in training
        return normalised
    resize = round(preprocessing.size * reference.resize / reference.size)
    return replace(normalised, resize=resize, filter=reference.filter)
