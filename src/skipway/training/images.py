"""From a source and a recipe to preprocessing, training batches and validation images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import models
from skipway.bundle import read_card
from skipway.data.augment import Augmentation
from skipway.data.loader import (
    RESIDENT_LIMIT,
    Order,
    Resident,
    Streamed,
    decode_split,
    decoded_side,
    in_order,
    open_all,
)
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, for_pixels
from skipway.data.source import Source, Split
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.models.weights import Pretrained
from skipway.training.balance import drawing_chances
from skipway.training.distributed import ALONE, Group
from skipway.training.recipes import Recipe

VALIDATION_BATCH = 500  # small images
LARGE_BATCH = 64  # photographs
MEASURED = 256  # images, evenly over train, that tell the mean and deviation of large images that are not in colour


@dataclass(frozen=True)
class Validation:
    """A split to watch: its images on the device when small, otherwise decoded anew each time."""

    split: Split
    preprocessing: Preprocessing
    images: Tensor | None
    workers: int

    @property
    def batch(self) -> int:
        """Images in each batch but the last."""
        return VALIDATION_BATCH if self.preprocessing.size <= models.SMALL else LARGE_BATCH

    def batches(self, share: slice = slice(None)) -> Iterator[Tensor]:
        """uint8 (B, C, size, size), in order; of all batches those of `share`."""
        if self.images is not None:
            yield from self.images.split(self.batch)[share]
        else:
            for images, _ in in_order(self.split, self.preprocessing, self.batch, self.workers, share):
                yield images

    def targets(self) -> Tensor:
        return torch.from_numpy(self.split.labels)


def order_of(source: Source, recipe: Recipe, group: Group = ALONE) -> Order:
    """The order of training images: shuffled or, with balance "sampler", drawn so that classes come up alike."""
    chances = drawing_chances(source.train.labels, len(source.classes)) if recipe.balance == "sampler" else None
    return Order(len(source.train), recipe.batch, recipe.seed, chances, group.rank, group.world)


def open_images(
    source: Source,
    recipe: Recipe,
    channels: int,
    size: int,
    fed: Preprocessing | None,
    hardware: Hardware,
    console: Console,
    group: Group = ALONE,
) -> tuple[Preprocessing, Resident | Streamed, Validation | None]:
    """Preprocessing, training batches and validation for images of `size` pixels a side.

    Images are prepared as pretrained weights are `fed`; otherwise as the field's custom is for photographs, and by
    their own mean and deviation when small.
    """
    augmentation = Augmentation(
        recipe.crop, recipe.pad, recipe.flip, recipe.cutout, recipe.colour, recipe.small, recipe.small_epochs
    )
    order = order_of(source, recipe, group)
    record = bare(recipe, channels, size)
    fits = len(source.train) * channels * size * size <= RESIDENT_LIMIT
    if size > models.SMALL or not fits or recipe.crop in ("resized", "scale"):
        preprocessing = fed_alike(for_large(source.train, record), fed)
        return preprocessing, *open_large(source, order, preprocessing, augmentation, hardware, console)
    if not isinstance(source.train.items, np.ndarray):
        console.print(f"decoding {len(source.train):,} images into memory")
    images, preprocessing = open_small(source.train, record, fed)
    labels = torch.from_numpy(source.train.labels).to(hardware.device)
    resident = Resident(images.to(hardware.device), labels, order, preprocessing, augmentation)
    held = open_all(source.val, preprocessing).to(hardware.device) if source.val else None
    validation = Validation(source.val, preprocessing, held, 0) if source.val else None
    return preprocessing, resident, validation


def open_large(
    source: Source,
    order: Order,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    hardware: Hardware,
    console: Console,
) -> tuple[Streamed, Validation | None]:
    """Training batches and validation for photographs: decoded once where they fit into memory, else anew each epoch.

    On a processor, batches of decoded images are made by the process that trains: worker processes would take the
    cores from it in the middle of its operations, which costs more than their work (docs/log.md).
    """
    train, workers = source.train, hardware.workers
    limit = min(RESIDENT_LIMIT, (hardware.memory() or RESIDENT_LIMIT) // 8) // order.world  # every process holds them
    side = decoded_side(train, preprocessing.channels, preprocessing.size, limit)
    if side:
        console.print(f"decoding {len(train):,} images into memory")
        train = decode_split(train, preprocessing, side)
        workers = 0 if hardware.device.type == "cpu" else workers
    batches = Streamed(train, order, preprocessing, augmentation, hardware.device, workers)
    if source.val is None:
        return batches, None
    fits = len(source.val) * preprocessing.channels * preprocessing.size**2 <= limit
    held = open_all(source.val, preprocessing).to(hardware.device) if fits else None
    return batches, Validation(source.val, preprocessing, held, hardware.workers)


def bare(recipe: Recipe, channels: int, size: int) -> Preprocessing:
    """The recipe's preprocessing without a margin, its mean and deviation still to be found."""
    red, green, blue = recipe.background
    even = (0.5,) * channels
    return Preprocessing(channels, size, size, even, even, fit=recipe.fit, background=(red, green, blue))


def without_margins(record: Preprocessing) -> Preprocessing:
    """`record`, squashing where it would pad: for measuring, because margins are filled with the mean itself."""
    return replace(record, fit="squash") if record.fit == "pad" else record


def open_small(split: Split, record: Preprocessing, fed: Preprocessing | None) -> tuple[Tensor, Preprocessing]:
    """Every image, uint8 (N, C, size, size), and `record` with their own mean and deviation, or as `fed`."""
    images = open_all(split, without_margins(record))
    own = for_pixels(images)
    preprocessing = fed_alike(replace(record, mean=own.mean, std=own.std), fed)
    return open_all(split, preprocessing) if record.fit == "pad" else images, preprocessing


def for_large(split: Split, record: Preprocessing) -> Preprocessing:
    """`record` with the field's margin, and ImageNet's mean and deviation; not in colour: those of a sample."""
    record = replace(record, resize=round(record.size * 256 / 224))
    if record.channels == 3:
        return replace(record, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    sample = split.take(np.linspace(0, len(split) - 1, min(MEASURED, len(split))).astype(int))
    own = for_pixels(open_all(sample, without_margins(record)))
    return replace(record, mean=own.mean, std=own.std)


def feeding(recipe: Recipe, pretrained: Pretrained | None) -> Preprocessing | None:
    """How the images of pretrained weights are prepared, by their bundle's card or their record; None: not known.

    Raises BundleError for a changed bundle, SkipwayError for one of another network.
    """
    folder = Path(recipe.pretrained)
    if pretrained and folder.is_dir():
        card = read_card(folder)
        if card.network["name"] != recipe.model:
            raise SkipwayError(f"{folder} holds {card.network['name']}, not {recipe.model}: choose it as --model")
        return Preprocessing(**card.preprocessing)
    record = pretrained.record if pretrained else None
    if record is None:
        return None
    filter_: Literal["bicubic", "bilinear"] = "bicubic" if record.interpolation == "bicubic" else "bilinear"
    return Preprocessing(len(record.mean), record.size, record.resize, record.mean, record.std, filter=filter_)


def fed_alike(preprocessing: Preprocessing, fed: Preprocessing | None) -> Preprocessing:
    """`preprocessing` with the mean and deviation of `fed` and, for photographs, its filter and margin."""
    if fed is None or len(fed.mean) != preprocessing.channels:
        return preprocessing
    normalised = replace(preprocessing, mean=tuple(fed.mean), std=tuple(fed.std))
    if preprocessing.resize == preprocessing.size:  # a small image is taken whole, as it is in training
        return normalised
    return replace(normalised, resize=round(preprocessing.size * fed.resize / fed.size), filter=fed.filter)
