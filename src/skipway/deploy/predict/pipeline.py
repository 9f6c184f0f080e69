"""Decoding and inference at the same time, in order, with a bounded number of images under way.

Threads decode, which Pillow and torch do outside of Python's lock, while the engine computes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from skipway.data.preprocess import FittedImage
from skipway.deploy.engines.base import Engine
from skipway.errors import DataError
from skipway.tasks.base import Outputs

T = TypeVar("T")


class Scored(NamedTuple):
    """The network's outputs for an image, without the first dimension, and the image's height and width."""

    outputs: Outputs
    size: tuple[int, int]


AHEAD = 2  # batches that are decoded while others wait for the engine
# torch's. Found here, because the search holds the loader's lock and waits for Python's: beside another thread that
# imports something, which takes them the other way round, it could wait for ever.
OPENMP = ThreadpoolController().select(user_api="openmp")


def decoders(threads: int) -> ThreadPoolExecutor:
    """Threads that decode."""
    return ThreadPoolExecutor(max(1, threads), "decode", compute_alone)


def overlapped(
    items: Iterable[T], opened: Callable[[T], FittedImage], engine: Engine, pool: ThreadPoolExecutor
) -> Iterator[tuple[T, Scored | DataError]]:
    """Each item with its outputs, or the DataError that `opened` raised, in order.

    `opened` gives the network's input, in `pool`. At most `AHEAD + depth + 1` batches are taken before the first is
    answered.
    """
    waiting = iter(items)
    decoding: deque[list[tuple[T, Future[FittedImage]]]] = deque()
    scoring: deque[Iterator[tuple[T, Scored | DataError]]] = deque()
    try:
        while (group := list(islice(waiting, engine.batch))) or decoding:
            if group:
                decoding.append([(item, pool.submit(opened, item)) for item in group])
            if len(decoding) > AHEAD or not group:
                scoring.append(submitted(decoding.popleft(), engine))
            if len(scoring) > engine.depth:
                yield from scoring.popleft()
        for answered in scoring:
            yield from answered
    finally:  # whoever asked may have stopped asking
        for _, image in (pair for group in decoding for pair in group):
            image.cancel()


def compute_alone() -> None:
    """Have torch use this thread alone for what it computes in it; the decoders are as many as the cores already."""
    torch.get_num_threads()  # torch sets its own number when first asked in a thread
    OPENMP.limit(limits=1)  # OpenMP's number belongs to the thread that sets it


def submitted(group: list[tuple[T, Future[FittedImage]]], engine: Engine) -> Iterator[tuple[T, Scored | DataError]]:
    """Hand the readable images of a batch to the engine now; what is returned waits for its answers."""
    found: list[tuple[T, FittedImage | DataError]] = []
    for item, image in group:
        try:
            found.append((item, image.result()))
        except DataError as fault:
            found.append((item, fault))
    images = [fitted.image for _, fitted in found if isinstance(fitted, FittedImage)]
    outputs = engine.submit(torch.stack(images)) if images else None

    def answers() -> Iterator[tuple[T, Scored | DataError]]:
        rows = zip(*outputs.result(), strict=True) if outputs is not None else iter(())
        for item, fitted in found:
            yield item, fitted if isinstance(fitted, DataError) else Scored(next(rows), fitted.size)

    return answers()
