"""The network's outputs for pictures of every kind, and the images that engines are compared on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from skipway.bundle import Card
from skipway.data.dataset import Item
from skipway.data.preprocess import FittedImage, Preprocessing
from skipway.deploy.engines.base import Engine
from skipway.deploy.predict.inputs import named
from skipway.deploy.predict.pipeline import Scored, overlapped
from skipway.errors import DataError

if TYPE_CHECKING:
    from skipway.deploy.sample_images import Samples

SAMPLE = 16  # images that engines are compared on


class Undecoded:
    """An image that waits to be decoded, and is not held afterwards: frames of videos are far larger than inputs."""

    def __init__(self, name: str, item: Item | DataError) -> None:
        self.name, self.item = name, item

    def take(self) -> Item:
        """The image. Raises DataError where it cannot be read."""
        item, self.item = self.item, b""
        if isinstance(item, DataError):
            raise item
        return item


def scored_images(
    images: Iterable[tuple[str, Item | DataError]],
    preprocessing: Preprocessing,
    engine: Engine,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[str, Scored | DataError]]:
    """Each image's name with the outputs of `engine`, or with why it cannot be read, in order; `pool` decodes."""

    def opened(image: Undecoded) -> FittedImage:
        return preprocessing.opened(image.take(), image.name)

    for image, found in overlapped((Undecoded(name, item) for name, item in images), opened, engine, pool):
        yield image.name, found


def engine_samples(card: Card, sample: Sequence[str | Path], preprocessing: Preprocessing) -> "Callable[[], Samples]":
    """The images that "auto" compares engines on, found when it asks: the first SAMPLE of `sample`, or else the
    training's own where they are at hand."""

    def samples() -> "Samples":
        from skipway.deploy.sample_images import at_hand  # data sets, which labelling alone does not need

        items = (item for _, item in named(iter(sample), preprocessing) if not isinstance(item, DataError))
        return at_hand(card, list(islice(items, SAMPLE)), None, SAMPLE)

    return samples
