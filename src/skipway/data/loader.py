"""Batches for training and for judging, from memory or through worker processes.

Everything random in a batch follows from (seed, epoch, place in the epoch), never from what ran before, so that a run
that stops can go on as if it had not.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from skipway.data.augment import Augmentation, crop_and_flip, finished, one_large, padded
from skipway.data.decode import decode
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Split
from skipway.errors import DataError

RESIDENT_LIMIT = 2 << 30  # bytes of uint8 pixels that are kept whole on the device


def derive(*words: int) -> int:
    """A random seed that depends on all `words` (such as seed, epoch, step) and looks unrelated for any other."""
    # their number goes in too, because a seed sequence takes (1,) and (1, 0) for the same
    return int(np.random.SeedSequence((len(words), *words)).generate_state(1, np.uint64)[0] >> 1)


def open_all(split: Split, preprocessing: Preprocessing) -> Tensor:
    """Every image of `split` as uint8 (N, C, size, size), decoded by as many threads as there are cores."""
    images = torch.empty(len(split), preprocessing.channels, preprocessing.size, preprocessing.size, dtype=torch.uint8)

    def fill(i: int) -> None:
        images[i] = preprocessing.open(split.items[i], split.names[i])

    side = preprocessing.size
    if isinstance(split.items, np.ndarray) and split.items.shape[1:] == (side, side, preprocessing.channels):
        return torch.from_numpy(split.items).permute(0, 3, 1, 2).contiguous()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(split)), chunksize=64):
            pass
    return images


def natural_size(split: Split, channels: int, sample: int = 64) -> int:
    """The shorter side in pixels that most of a sample of images do not fall short of."""
    chosen = np.linspace(0, len(split) - 1, min(sample, len(split))).astype(int)
    return int(np.median([min(decode(split.items[i], channels, split.names[i]).shape[1:]) for i in chosen]))


@dataclass(frozen=True)
class Order:
    """Which images make up each batch of an epoch: a fresh permutation an epoch, incomplete last batches left out."""

    count: int
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        return self.count // self.batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Indices (batch,) for each step from `start`."""
        order = torch.from_numpy(np.random.default_rng(derive(self.seed, epoch)).permutation(self.count))
        for step in range(start, self.steps):
            yield order[step * self.batch : (step + 1) * self.batch]


class Resident:
    """A training set that lives whole on the device as uint8 and is augmented a batch at a time."""

    def __init__(
        self, images: Tensor, labels: Tensor, order: Order, preprocessing: Preprocessing, augmentation: Augmentation
    ) -> None:
        """images: uint8 (N, C, size, size) on the device; labels: (N,) there too."""
        self.pixels = padded(images, augmentation.pad if augmentation.crop == "pad" else 0)
        self.labels, self.order = labels, order
        self.preprocessing, self.augmentation = preprocessing, augmentation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 images (B, C, side, side) in channels-last memory, and labels (B,), for each step."""
        side = self.augmentation.side(self.preprocessing.size, epoch)
        for step, picked in enumerate(self.order.batches(epoch, start), start):
            torch.manual_seed(derive(self.order.seed, epoch, step))
            picked = picked.to(self.pixels.device)
            images = crop_and_flip(self.pixels, picked, side, self.augmentation.flip)
            yield finished(images, self.preprocessing, self.augmentation), self.labels[picked]


class Views(Dataset):
    """Items decoded and fitted, or augmented when an augmentation is given. An index is (place, random seed).

    A fault is handed over as an item and raised by `batches_of`: raised in a worker it would arrive as a traceback.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, augmentation: Augmentation | None) -> None:
        self.split, self.preprocessing, self.augmentation = split, preprocessing, augmentation

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, int] | DataError:
        try:
            return self.view(*index)
        except DataError as fault:
            return fault

    def view(self, place: int, seed: int) -> tuple[Tensor, int]:
        item, name = self.split.items[place], self.split.names[place]
        label = int(self.split.labels[place])
        if self.augmentation is None:
            return self.preprocessing.open(item, name), label
        image = decode(item, self.preprocessing.channels, name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return one_large(image, self.preprocessing, self.augmentation), label


def collated(items: list[tuple[Tensor, int] | DataError]) -> tuple[Tensor, Tensor] | DataError:
    """Items as one batch, or the first fault among them."""
    fault = next((item for item in items if isinstance(item, DataError)), None)
    return fault if fault is not None else default_collate(items)


def batches_of(
    views: Views, batches: list[list[tuple[int, int]]], workers: int, pinned: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 images and labels for each batch of indices. Raises the DataError of an image that cannot be read."""
    loader = DataLoader(views, batch_sampler=batches, num_workers=workers, pin_memory=pinned, collate_fn=collated)
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


class Streamed:
    """A training set of large images: decoded, cropped and flipped by worker processes, normalised on the device."""

    def __init__(
        self,
        split: Split,
        order: Order,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        device: torch.device,
        workers: int,
    ) -> None:
        self.split, self.order, self.device, self.workers = split, order, device, workers
        self.preprocessing, self.augmentation = preprocessing, augmentation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 images (B, C, side, side) and labels (B,) on the device, for each step."""
        side = self.augmentation.side(self.preprocessing.size, epoch)
        views = Views(self.split, self.preprocessing.at(side), self.augmentation)
        batches = [
            [(int(i), derive(self.order.seed, epoch, int(i))) for i in picked]
            for picked in self.order.batches(epoch, start)
        ]
        pinned = self.device.type == "cuda"
        loaded = batches_of(views, batches, self.workers, pinned)
        for step, (images, labels) in enumerate(loaded, start):
            torch.manual_seed(derive(self.order.seed, epoch, step))
            images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            yield finished(images, self.preprocessing, self.augmentation), labels


def in_order(split: Split, preprocessing: Preprocessing, batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, unaugmented: uint8 (B, C, size, size), labels (B,); the last batch may be short."""
    places = [(i, 0) for i in range(len(split))]
    batches = [places[i : i + batch] for i in range(0, len(places), batch)]
    yield from batches_of(Views(split, preprocessing, None), batches, workers, pinned=False)
