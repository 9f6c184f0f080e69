"""How far frozen embeddings go on a data set: `skipway probe`, a baseline in seconds."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skipway.commands.arguments import Folder, as_data
from skipway.commands.embed import gather, open_embedder
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split, with_validation
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.data.targets import ClassTargets
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.predict.embedder import Embedder
from skipway.embedding.network import Embedding
from skipway.embedding.probe import fitted, linear_probe, nearest_neighbours
from skipway.errors import DataError, refuse_if
from skipway.hardware import Hardware
from skipway.models.pretrained.embedded import EMBEDDED
from skipway.tasks.classify.metrics import interval

HELD_OUT = 0.2  # of each class, where the data have neither test nor val
SEED = 0


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy, with its 95 % interval (Wilson), of one classifier on embeddings; seconds: of fitting and predicting.

    train, n: images that it was fitted to and evaluated on, those of `split`.
    """

    classifier: str
    accuracy: float
    low: float
    high: float
    split: str
    n: int
    train: int
    seconds: float


class EmbeddedSplit(NamedTuple):
    """The readable images of a split: their places in it, and embeddings float32 (n, D); unread: how many are not."""

    places: np.ndarray
    vectors: np.ndarray
    unread: int


def embed_split(embedder: Embedder, split: Split) -> EmbeddedSplit:
    """Embeddings of the images of a split. Raises DataError where none can be read."""
    places: list[int] = []

    def numbered() -> Iterator[Embedding]:
        found: Iterable[Embedding] = embedder.items(zip(split.names, split.items, strict=True))
        for place, embedding in enumerate(found):
            if embedding.vector is not None:
                places.append(place)
            yield embedding

    features, count = gather(numbered(), embedder.origin)
    return EmbeddedSplit(np.array(places), features.vectors, count.unread)


def require_one_class(dataset: Dataset) -> None:
    """Raises DataError for images that do not have one class each."""
    if not dataset.classes or not isinstance(dataset.train.targets, ClassTargets):
        raise DataError(f"the images of {dataset.name} do not have one class each: give some that do")


def probe(
    data: Folder | Dataset,
    model: Folder = EMBEDDED,
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
) -> list[ProbeResult]:
    """A linear classifier, and one of nearest neighbours, on embeddings of `data` by the run or named network `model`.

    They are fitted to train and evaluated on test, or else val, or else a fifth of train that is held out. Raises
    SkipwayError for data without one class an image.
    """
    named = as_data(data)
    dataset = named if isinstance(named, Dataset) else open_dataset(named, reading)
    require_one_class(dataset)
    if dataset.val is None and dataset.test is None:
        dataset = with_validation(dataset, HELD_OUT, SEED)
    split = dataset.eval_split()
    refuse_if(split == "train", f"{dataset.name} has too few images to hold some out", "add images")
    embedder = open_embedder(model, hardware, engine, (), notify)
    train, held_out = (embed_split(embedder, part) for part in (dataset.train, dataset.split(split)))
    labels = dataset.train.labels[train.places], dataset.split(split).labels[held_out.places]
    classifiers = {"linear": linear_probe(), "nearest neighbours": nearest_neighbours(labels[0])}
    found = []
    for name, classifier in classifiers.items():
        start = time.perf_counter()
        predicted = fitted(classifier, train.vectors, labels[0]).predict(held_out.vectors)
        seconds, correct = time.perf_counter() - start, int((predicted == labels[1]).sum())
        count = len(labels[1])
        ends = interval(correct, count)
        found.append(ProbeResult(name, correct / count, *ends, split, count, len(labels[0]), seconds))
    return found
