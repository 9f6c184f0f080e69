"""Batches for training and for judging, from memory or through worker processes.

Everything random in a batch follows from (seed, epoch, place in the epoch), never from what ran before, so that a run
that stops can go on as if it had not.
"""

import atexit
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import c_bool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.sharedctypes import RawValue

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from skipway.data.augment import Augmentation, crop_and_flip, finished, one_large, padded
from skipway.data.decode import decode
from skipway.data.preprocess import Preprocessing, centre_of
from skipway.data.source import Split
from skipway.errors import DataError, first_line

RESIDENT_LIMIT = 2 << 30  # bytes of uint8 pixels that are kept whole on the device
PATIENCE = 300.0  # seconds that the next batch may take before the workers count as stuck
DECODED_SCALE = 2.2  # times the size: the shorter side of images kept decoded; the crop "scale" takes up to 480/224
SAMPLED = 64  # images that tell what sizes all of them have
POLL = 1.0  # seconds between two looks of a worker that got SIGTERM at whether its parent is still there


def derive(*words: int) -> int:
    """A random seed that depends on all `words` (such as seed, epoch, step) and looks unrelated for any other."""
    # their number goes in too, because a seed sequence takes (1,) and (1, 0) for the same
    return int(np.random.SeedSequence((len(words), *words)).generate_state(1, np.uint64)[0] >> 1)


def open_all(split: Split, preprocessing: Preprocessing) -> Tensor:
    """Every image of `split` as uint8 (N, C, size, size), decoded by as many threads as there are cores."""
    side, channels, items = preprocessing.size, preprocessing.channels, split.items
    whole = preprocessing.fit != "crop" or preprocessing.resize == side  # otherwise a margin is cut off
    if (
        isinstance(items, np.ndarray)
        and whole
        and items.dtype == np.uint8
        and items.shape[1:] == (side, side, channels)
    ):
        return torch.from_numpy(items).permute(0, 3, 1, 2).contiguous()
    images = torch.empty(len(split), channels, side, side, dtype=torch.uint8)

    def fill(i: int) -> None:
        images[i] = preprocessing.open(items[i], split.names[i])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(split)), chunksize=64):
            pass
    return images


def sampled_sides(split: Split, channels: int, sample: int = SAMPLED) -> list[tuple[int, int]]:
    """(height, width) in pixels of at most `sample` images, evenly over `split`."""
    chosen = np.linspace(0, len(split) - 1, min(sample, len(split))).astype(int)
    shapes = [decode(split.items[i], channels, split.names[i]).shape for i in chosen]
    return [(height, width) for _, height, width in shapes]


def natural_size(split: Split, channels: int, sample: int = SAMPLED) -> int:
    """The shorter side in pixels that most of a sample of images do not fall short of."""
    return int(np.median([min(sides) for sides in sampled_sides(split, channels, sample)]))


def decoded_side(split: Split, channels: int, size: int, limit: int = RESIDENT_LIMIT) -> int | None:
    """The shorter side to which images are reduced when `split` is decoded for crops of `size`: DECODED_SCALE times it.

    None where they would take more than `limit` bytes, as a sample of them tells.
    """
    side = round(DECODED_SCALE * size)
    sides = sampled_sides(split, channels)
    areas = [height * width * min(1.0, side / min(height, width)) ** 2 for height, width in sides]
    return side if len(split) * channels * float(np.mean(areas)) <= limit else None


def reduced(image: Tensor, preprocessing: Preprocessing, side: int) -> Tensor:
    """`image`, uint8 (C, H, W), made smaller where its shorter side is more than `side`, which it then is."""
    if min(image.shape[1:]) <= side:
        return image
    image = centre_of(image)
    scale = side / min(image.shape[1:])
    return preprocessing.resized(image, round(image.shape[1] * scale), round(image.shape[2] * scale))


def decode_split(split: Split, preprocessing: Preprocessing, side: int) -> Split:
    """`split` with every image decoded, as uint8 (H, W, C) arrays whose shorter side is at most `side` pixels.

    Images that are not larger keep their pixels. Raises DataError naming an image that cannot be read.
    """

    def decoded(i: int) -> np.ndarray:
        image = reduced(preprocessing.decoded(split.items[i], split.names[i]), preprocessing, side)
        return image.permute(1, 2, 0).contiguous().numpy()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return replace(split, items=list(pool.map(decoded, range(len(split)))))


@dataclass(frozen=True)
class Order:
    """Which images make up each batch of an epoch, incomplete last batches left out.

    A fresh permutation an epoch or, given `weights` (count,), as many draws with replacement, each image with a chance
    in proportion to its weight. Of `world` processes that share a batch, the one of `rank` has every world-th image of
    it: together they have the batch that one process would have.
    """

    count: int
    batch: int
    seed: int
    weights: np.ndarray | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch % self.world:
            raise DataError(f"a batch of {self.batch} cannot be shared by {self.world} processes: choose a multiple")

    @property
    def steps(self) -> int:
        return self.count // self.batch

    @property
    def share(self) -> slice:
        """The places of a batch that are this process's."""
        return slice(self.rank, None, self.world)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Indices (batch / world,) of this process's images for each step from `start`."""
        return (picked[self.share] for picked in self.whole(epoch, start))

    def whole(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Indices (batch,) of all processes' images for each step from `start`."""
        rng = np.random.default_rng(derive(self.seed, epoch))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.steps * self.batch, p=self.weights / self.weights.sum())
        for step in range(start, self.steps):
            yield torch.from_numpy(order[step * self.batch : (step + 1) * self.batch].copy())

    def draws(self, epoch: int, step: int) -> list[int]:
        """A random seed for each image of this process's share of `step`, by the image's place in the batch.

        By place, not by image: one that is drawn twice is seen in two views.
        """
        return [derive(self.seed, epoch, step, place) for place in range(self.rank, self.batch, self.world)]


def finished_share(images: Tensor, order: Order, preprocessing: Preprocessing, augmentation: Augmentation) -> Tensor:
    """`finished` for one process's share of a batch, (batch / world, C, H, W).

    What is drawn at random is drawn for the whole batch by every process, so that together they make the images that
    one process would make, and all are left with the same random state.
    """
    if order.world == 1 or not (augmentation.colour or augmentation.cutout):
        return finished(images, preprocessing, augmentation)
    whole = images.new_zeros(order.batch, *images.shape[1:])
    whole[order.share] = images
    return finished(whole, preprocessing, augmentation)[order.share]


class Resident:
    """A training set that lives whole on the device as uint8 and is augmented a batch at a time."""

    def __init__(
        self, images: Tensor, labels: Tensor, order: Order, preprocessing: Preprocessing, augmentation: Augmentation
    ) -> None:
        """images: uint8 (N, C, size, size) on the device; labels: (N,) or (N, classes) there too."""
        self.pixels = padded(images, augmentation.pad if augmentation.crop == "pad" else 0)
        self.labels, self.order = labels, order
        self.preprocessing, self.augmentation = preprocessing, augmentation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 images (B, C, side, side) in channels-last memory, and their labels, for each step.

        Small crops are windows of the images as they are kept, not the images made smaller. Of several processes each
        crops the whole batch, which is one gather of bytes, and goes on with its share.
        """
        side, share = self.augmentation.side(self.preprocessing.size, epoch), self.order.share
        for step, picked in enumerate(self.order.whole(epoch, start), start):
            torch.manual_seed(derive(self.order.seed, epoch, step))
            picked = picked.to(self.pixels.device)
            images = crop_and_flip(self.pixels, picked, side, self.augmentation.flip)[share]
            yield finished_share(images, self.order, self.preprocessing, self.augmentation), self.labels[picked[share]]


class Views(Dataset):
    """Items decoded and fitted, or augmented when an augmentation is given. An index is (place, random seed).

    A fault is handed over as an item and raised by `batches_of`: raised in a worker it would arrive as a traceback.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, augmentation: Augmentation | None) -> None:
        self.split, self.preprocessing, self.augmentation = split, preprocessing, augmentation

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | DataError:
        try:
            return self.view(*index)
        except DataError as fault:
            return fault

    def view(self, place: int, seed: int) -> tuple[Tensor, Tensor]:
        item, name = self.split.items[place], self.split.names[place]
        label = torch.as_tensor(self.split.labels[place])
        if self.augmentation is None:
            return self.preprocessing.open(item, name), label
        image = self.preprocessing.decoded(item, name)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed also looks for accelerators, image by image
            return one_large(image, self.preprocessing, self.augmentation), label


def collated(items: list[tuple[Tensor, Tensor] | DataError]) -> tuple[Tensor, Tensor] | DataError:
    """Items as one batch, or the first fault among them."""
    fault = next((item for item in items if isinstance(item, DataError)), None)
    return fault if fault is not None else default_collate(items)


@contextmanager
def closing_flag() -> Iterator[c_bool]:
    """A value in memory that workers share: false inside of the context, true after it and when the process exits."""
    closed = RawValue(c_bool, False)

    def close() -> None:
        closed.value = True

    atexit.register(close)
    try:
        yield closed
    finally:
        close()
        atexit.unregister(close)


def stay_while_needed(closed: c_bool, _worker: int) -> None:
    """In a worker: let the process that trains decide when to end, also where a signal went to all processes at once.

    SIGTERM ends the worker only when the loader is `closed`, which ends one that is stuck, or the parent has gone.
    """
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "setitimer"):
        return

    def look(number: int, _frame: object) -> None:
        if (number == signal.SIGTERM and closed.value) or os.getppid() != parent:
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, POLL)

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, look)


def batches_of(
    views: Views,
    batches: Iterable[list[tuple[int, int]]],
    workers: int,
    pinned: bool,
    patience: float = PATIENCE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 images and labels for each batch of indices.

    Raises the DataError of an image that cannot be read, and one where workers give nothing for `patience` seconds or
    have been killed.
    """
    with closing_flag() as closed:
        loader = DataLoader(
            views,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pinned,
            collate_fn=collated,
            timeout=patience if workers else 0,
            worker_init_fn=partial(stay_while_needed, closed),
        )
        try:
            iterator = iter(loader)  # kept until the flag is set: what is left of its workers is ended with it
            for batch in iterator:
                if isinstance(batch, DataError):
                    raise batch
                yield batch
        except RuntimeError as fault:
            if not workers_lost(fault):
                raise
            raise DataError(what_became_of_workers(fault, patience)) from None


def workers_lost(fault: BaseException) -> bool:
    """Whether torch says that worker processes are stuck or have ended; of the latter it tells in any line of code."""
    return isinstance(fault, RuntimeError) and "DataLoader" in str(fault)


def what_became_of_workers(fault: BaseException, patience: float = PATIENCE) -> str:
    """For a fault of `workers_lost`: what happened, and what to do."""
    if "timed out" in str(fault):
        became = f"gave no images for {patience:g} s: is the disk or the network that holds them stuck?"
    else:
        became = f"have died ({first_line(fault)}): give the machine more memory, or fewer --workers"
    return f"the workers that decode {became}"


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
        """Normalised float32 images (B, C, side, side) and their labels on the device, for each step."""
        side = self.augmentation.side(self.preprocessing.size, epoch)
        views = Views(self.split, self.preprocessing.at(side), self.augmentation)
        batches = (
            list(zip(picked.tolist(), self.order.draws(epoch, step), strict=True))
            for step, picked in enumerate(self.order.batches(epoch, start), start)
        )
        pinned = self.device.type == "cuda"
        loaded = batches_of(views, batches, self.workers, pinned)
        for step, (images, labels) in enumerate(loaded, start):
            torch.manual_seed(derive(self.order.seed, epoch, step))
            images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            yield finished_share(images, self.order, self.preprocessing, self.augmentation), labels


def in_order(
    split: Split, preprocessing: Preprocessing, batch: int, workers: int, share: slice = slice(None)
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, unaugmented: uint8 (B, C, size, size), labels; the last batch may be short.

    Of all batches only those of `share` (such as every second one), and only their images are read.
    """
    places = [(i, 0) for i in range(len(split))]
    batches = [places[i : i + batch] for i in range(0, len(places), batch)][share]
    yield from batches_of(Views(split, preprocessing, None), batches, workers, pinned=False)
