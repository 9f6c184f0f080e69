"""Batches for training and evaluation, from memory or through worker processes.

All randomness in a batch derives from (seed, epoch, step), never from what ran before, so that a resumed run continues
exactly as if it had not stopped.
"""

import atexit
import operator
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import c_bool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from skipway.data.augment import Augmentation, augment_batch, augment_image, crop_and_flip, pad_images
from skipway.data.dataset import Split
from skipway.data.decode import WHITE, decode_reduced
from skipway.data.preprocess import Preprocessing, crop_extreme_aspect
from skipway.data.targets import Labels, Targets, map_labels
from skipway.errors import DataError, first_line
from skipway.hardware import available_cores

IN_MEMORY_LIMIT = 2 << 30  # bytes of uint8 pixels that are held on the device
BATCH_TIMEOUT = 300.0  # seconds to wait for the next batch before the workers count as stuck
DECODED_SCALE = 2.2  # times the size: the shorter side of images held decoded; the crop "scale" resizes up to 480/224
SAMPLED = 64  # images from which the sizes of all are estimated
POLL = 1.0  # seconds between checks, in a worker that got SIGTERM, whether its parent is still alive


def derive_seed(*values: int) -> int:
    """A random seed derived from all `values` (such as seed, epoch, step), unrelated to that of any other values."""
    # their number is included, because a seed sequence treats (1,) and (1, 0) as equal
    return int(np.random.SeedSequence((len(values), *values)).generate_state(1, np.uint64)[0] >> 1)


def decode_all(split: Split, preprocessing: Preprocessing) -> Tensor:
    """Every image of `split` as uint8 (N, C, *canvas), decoded by one thread per core."""
    canvas, channels, items = preprocessing.canvas, preprocessing.channels, split.items
    uncropped = preprocessing.fit != "crop" or preprocessing.resize == preprocessing.size  # otherwise a margin is cut
    if (
        isinstance(items, np.ndarray)
        and uncropped
        and items.dtype == np.uint8
        and items.shape[1:] == (*canvas, channels)
    ):
        return torch.from_numpy(items).permute(0, 3, 1, 2).contiguous()
    images = torch.empty(len(split), channels, *canvas, dtype=torch.uint8)

    def fill(i: int) -> None:
        images[i] = preprocessing.open(items[i], split.names[i])

    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(fill, range(len(split)), chunksize=64):
            pass
    return images


def sample_sizes(split: Split, channels: int, sample: int = SAMPLED) -> list[tuple[int, int]]:
    """(height, width) in pixels of at most `sample` images, evenly spaced over `split`."""
    chosen = np.linspace(0, len(split) - 1, min(sample, len(split))).astype(int)
    return [decode_reduced(split.items[i], channels, split.names[i], WHITE, least=1).size for i in chosen]


def natural_size(split: Split, channels: int, sample: int = SAMPLED) -> int:
    """The median of the shorter sides, in pixels, of a sample of images."""
    return int(np.median([min(sides) for sides in sample_sizes(split, channels, sample)]))


def decoded_side(split: Split, channels: int, size: int, limit: int = IN_MEMORY_LIMIT) -> int | None:
    """The shorter side to which images are downscaled if `split` is decoded for crops of `size`: DECODED_SCALE * size.

    None if they would take more than `limit` bytes, estimated from a sample.
    """
    side = round(DECODED_SCALE * size)
    sides = sample_sizes(split, channels)
    areas = [height * width * min(1.0, side / min(height, width)) ** 2 for height, width in sides]
    return side if len(split) * channels * float(np.mean(areas)) <= limit else None


def downscale(image: Tensor, preprocessing: Preprocessing, side: int) -> Tensor:
    """`image`, uint8 (C, H, W), downscaled to a shorter side of `side` if that is longer."""
    if min(image.shape[1:]) <= side:
        return image
    if preprocessing.fit == "crop":
        image = crop_extreme_aspect(image)
    scale = side / min(image.shape[1:])
    return preprocessing.resized(image, round(image.shape[1] * scale), round(image.shape[2] * scale))


def decode_split(split: Split, preprocessing: Preprocessing, side: int) -> Split:
    """`split` with every image decoded, as uint8 (H, W, C) arrays whose shorter side is at most `side` pixels.

    Smaller images are unchanged. Raises DataError naming an image that cannot be read.
    """

    def decoded(i: int) -> np.ndarray:
        image = downscale(preprocessing.reduced(split.items[i], split.names[i]).image, preprocessing, side)
        return image.permute(1, 2, 0).contiguous().numpy()

    with ThreadPoolExecutor(available_cores()) as pool:
        return replace(split, items=list(pool.map(decoded, range(len(split)))))


@dataclass(frozen=True)
class BatchSampler:
    """The image indices of each batch of an epoch; an incomplete last batch is dropped.

    A new permutation per epoch or, given `weights` (count,), sampling with replacement with probability proportional
    to the weight. Of `world` processes that share a batch, process `rank` takes every world-th image: together they
    have the batch that a single process would have.
    """

    count: int
    batch: int
    seed: int
    weights: np.ndarray | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch % self.world:
            raise DataError(
                f"a batch of {self.batch} cannot be divided among {self.world} processes: choose a multiple"
            )

    @property
    def steps(self) -> int:
        return self.count // self.batch

    @property
    def share(self) -> slice:
        """The positions in a batch that belong to this process."""
        return slice(self.rank, None, self.world)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Indices (batch / world,) of this process's images, for each step from `start`."""
        return (indices[self.share] for indices in self.global_batches(epoch, start))

    def global_batches(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Indices (batch,) of all processes' images, for each step from `start`."""
        rng = np.random.default_rng(derive_seed(self.seed, epoch))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.steps * self.batch, p=self.weights / self.weights.sum())
        for step in range(start, self.steps):
            yield torch.from_numpy(order[step * self.batch : (step + 1) * self.batch].copy())

    def image_seeds(self, epoch: int, step: int) -> list[int]:
        """A random seed for each image of this process's share of `step`, by the image's position in the batch.

        By position, not by image, so that an image sampled twice is augmented differently each time.
        """
        return [derive_seed(self.seed, epoch, step, position) for position in range(self.rank, self.batch, self.world)]


def augment_share(
    images: Tensor, order: BatchSampler, preprocessing: Preprocessing, augmentation: Augmentation
) -> Tensor:
    """`augment_batch` for one process's share of a batch, (batch / world, C, H, W).

    Every process draws the random numbers of the entire batch, so that together they produce the images that a single
    process would, and all end with the same random state.
    """
    if order.world == 1 or not (augmentation.colour or augmentation.cutout):
        return augment_batch(images, preprocessing, augmentation)
    batch = images.new_zeros(order.batch, *images.shape[1:])
    batch[order.share] = images
    return augment_batch(batch, preprocessing, augmentation)[order.share]


class Batch(NamedTuple):
    """Images (B, C, H, W) and their targets, tensors whose first dimension is the batch."""

    images: Tensor
    targets: Labels

    def split(self, size: int) -> list["Batch"]:
        """Parts of at most `size` images."""
        parts = [operator.itemgetter(slice(start, start + size)) for start in range(0, len(self.images), size)]
        return [Batch(part(self.images), map_labels(part, self.targets)) for part in parts]


class InMemoryLoader:
    """A training set held on the device as uint8 and augmented batch by batch."""

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        order: BatchSampler,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
    ) -> None:
        """images: uint8 (N, C, size, size) on the device; targets: (N, ...), on the device too."""
        self.pixels = pad_images(images, augmentation.pad if augmentation.crop == "pad" else 0)
        self.targets, self.order = targets, order
        self.preprocessing, self.augmentation = preprocessing, augmentation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Normalised float32 images (B, C, side, side) in channels-last memory, and their targets, for each step.

        Small crops are cut from the stored images, without downscaling. Each of several processes crops the entire
        batch, which is one gather of bytes, and continues with its share.
        """
        side, share = self.augmentation.side(self.preprocessing.size, epoch), self.order.share
        for step, indices in enumerate(self.order.global_batches(epoch, start), start):
            torch.manual_seed(derive_seed(self.order.seed, epoch, step))
            indices = indices.to(self.pixels.device)
            images = crop_and_flip(self.pixels, indices, side, self.augmentation.flip)[share]
            images = augment_share(images, self.order, self.preprocessing, self.augmentation)
            yield Batch(images, self.targets[indices[share]])


class Transform(Protocol):
    """Turns a decoded image, uint8 (C, H, W), and its target into an input of the network, uint8, and its target."""

    def read(self, targets: Targets, place: int) -> Any:
        """What `__call__` needs of the annotation of an image."""

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Labels]: ...

    def view(self, opened: Callable[[int], tuple[Tensor, Any]], place: int, images: int) -> tuple[Tensor, Labels]:
        """The input made of the image at `place` of `images`, and of others where a transform combines several.

        opened: from the place of an image to the arguments of `__call__`.
        """
        return self(*opened(place))

    def for_epoch(self, epoch: int) -> "Transform":
        """The transform of `epoch`, counted from 0."""


@dataclass(frozen=True)
class Fit(Transform):
    """The transform of evaluation: the fitted image; of the annotation, which may be large, only its place."""

    preprocessing: Preprocessing

    def read(self, targets: Targets, place: int) -> Tensor:
        return torch.tensor(place)

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.preprocessing.fitted(image), target

    def for_epoch(self, epoch: int) -> "Fit":
        return self


@dataclass(frozen=True)
class AugmentImage(Transform):
    """The transform of a training whose targets do not depend on where things are in the image."""

    preprocessing: Preprocessing
    augmentation: Augmentation

    def read(self, targets: Targets, place: int) -> Labels:
        return targets.item(place)

    def __call__(self, image: Tensor, target: Labels) -> tuple[Tensor, Labels]:
        return augment_image(image, self.preprocessing, self.augmentation), target

    def for_epoch(self, epoch: int) -> "AugmentImage":
        """With the smaller crops of the first epochs."""
        side = self.augmentation.side(self.preprocessing.size, epoch)
        return replace(self, preprocessing=self.preprocessing.at(side))


class ImageViews(Dataset):
    """Items decoded and transformed, with the random numbers of a seed. An index is (position, random seed).

    A DataError is returned as an item and raised by `batches_of`: raised in a worker it would arrive as a traceback.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, transform: Transform) -> None:
        self.split, self.preprocessing, self.transform = split, preprocessing, transform

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Labels] | DataError:
        try:
            return self.view(*index)
        except DataError as error:
            return error

    def view(self, index: int, seed: int) -> tuple[Tensor, Labels]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed also checks for accelerators, for every image
            return self.transform.view(self.opened, index, len(self.split))

    def opened(self, index: int) -> tuple[Tensor, Any]:
        """The decoded image, and what the transform needs of its annotation."""
        image = self.preprocessing.reduced(self.split.items[index], self.split.names[index]).image
        return image, self.transform.read(self.split.targets, index)


def collate(items: list[tuple[Tensor, Labels] | DataError]) -> tuple[Tensor, Labels] | DataError:
    """Items as one batch, or the first error among them."""
    error = next((item for item in items if isinstance(item, DataError)), None)
    return error if error is not None else default_collate(items)


@contextmanager
def closing_flag() -> Iterator[c_bool]:
    """A flag in shared memory for the workers: false inside the context, true after it and when the process exits."""
    closed = RawValue(c_bool, False)

    def close() -> None:
        closed.value = True

    atexit.register(close)
    try:
        yield closed
    finally:
        close()
        atexit.unregister(close)


def ignore_signals_until_closed(closed: c_bool, _worker: int) -> None:
    """In a worker: leave it to the training process when to end, even if a signal was sent to all processes.

    SIGTERM ends the worker only if the loader is `closed`, which ends a stuck worker, or the parent is gone.
    """
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "setitimer"):
        return
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def handle(number: int, _frame: object) -> None:
        if (number == signal.SIGTERM and closed.value) or os.getppid() != parent:
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, POLL)

    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, handle)


def batches_of(
    views: ImageViews,
    batches: Iterable[list[tuple[int, int]]],
    workers: int,
    pinned: bool,
    timeout: float = BATCH_TIMEOUT,
) -> Iterator[tuple[Tensor, Labels]]:
    """uint8 images and targets for each batch of indices.

    Raises the DataError of an image that cannot be read, and a DataError if the workers return nothing for `timeout`
    seconds or were killed.
    """
    with closing_flag() as closed:
        loader = DataLoader(
            views,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pinned,
            collate_fn=collate,
            timeout=timeout if workers else 0,
            worker_init_fn=partial(ignore_signals_until_closed, closed),
        )
        try:
            iterator = iter(loader)  # referenced until the flag is set: deleting it ends its workers
            for batch in iterator:
                if isinstance(batch, DataError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if not workers_lost(error):
                raise
            raise DataError(worker_exit_reason(error, timeout)) from None


def workers_lost(error: BaseException) -> bool:
    """Whether torch reports that worker processes are stuck or have died; it may raise the latter anywhere."""
    return isinstance(error, RuntimeError) and "DataLoader" in str(error)


def worker_exit_reason(error: BaseException, timeout: float = BATCH_TIMEOUT) -> str:
    """For an error for which `workers_lost` is true: what happened, and what to do."""
    if "timed out" in str(error):
        reason = f"returned no images for {timeout:g} s: check the disk or network that holds the images"
    else:
        reason = f"died ({first_line(error)}): use more memory, or fewer --workers"
    return f"the decoding workers {reason}"


class StreamingLoader:
    """A training set of large images: decoded, cropped and flipped by worker processes, normalised on the device."""

    def __init__(
        self,
        split: Split,
        order: BatchSampler,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        device: torch.device,
        workers: int,
        transform: Transform | None = None,
    ) -> None:
        """transform: from images and targets to inputs; None for that of `augmentation`, whose colour shift and cutout
        are applied in any case."""
        self.split, self.order, self.device, self.workers = split, order, device, workers
        self.preprocessing, self.augmentation = preprocessing, augmentation
        self.transform = transform or AugmentImage(preprocessing, augmentation)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Normalised float32 images (B, C, H, W) and their targets on the device, for each step."""
        views = ImageViews(self.split, self.preprocessing, self.transform.for_epoch(epoch))
        batches = (
            list(zip(indices.tolist(), self.order.image_seeds(epoch, step), strict=True))
            for step, indices in enumerate(self.order.batches(epoch, start), start)
        )
        pinned = self.device.type == "cuda"
        loaded = batches_of(views, batches, self.workers, pinned)
        for step, (images, targets) in enumerate(loaded, start):
            torch.manual_seed(derive_seed(self.order.seed, epoch, step))
            images = images.to(self.device, non_blocking=True)
            targets = map_labels(lambda t: t.to(self.device, non_blocking=True), targets)
            yield Batch(augment_share(images, self.order, self.preprocessing, self.augmentation), targets)


def in_order(
    split: Split, preprocessing: Preprocessing, batch: int, workers: int, share: slice = slice(None)
) -> Iterator[Tensor]:
    """Every image once, in order, not augmented: uint8 (B, C, *canvas); the last batch may be smaller.

    `share` selects batches (such as every second one); only their images are read.
    """
    indices = [(i, 0) for i in range(len(split))]
    batches = [indices[i : i + batch] for i in range(0, len(indices), batch)][share]
    views = ImageViews(split, preprocessing, Fit(preprocessing))
    for images, _ in batches_of(views, batches, workers, pinned=False):
        yield images
