"""Embeddings of images by a trained network: read, scheduled and computed as for `predict`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skipway.data.dataset import Item
from skipway.deploy.engines.base import Goal, Notify, ignore_message
from skipway.deploy.engines.selection import REFERENCE, open_engine
from skipway.deploy.predict.inputs import Picture, named, pictures_of
from skipway.deploy.predict.pictures import in_channels
from skipway.deploy.predict.pipeline import Scored, decoders
from skipway.deploy.predict.scoring import engine_samples, scored_images
from skipway.deploy.predict.writer import not_finite
from skipway.embedding.network import Embed, Embedding, body_of, require_images
from skipway.errors import DataError, refuse_if
from skipway.hardware import Hardware
from skipway.trained import TrainedModel

ONE = (1, 1)  # the size of an image, which an embedding does not depend on


class Embedder:
    """A trained network ready to embed images. The arguments are those of `Predictor`; `trained` is on `hardware`.

    with_scores: class scores too, from the same pass, of a classifier of one class an image. dimension: the length D of
    an embedding.

    Raises SkipwayError for a network that takes no images, and for the engine int8, whose exports give class scores
    alone.
    """

    def __init__(
        self,
        trained: TrainedModel,
        hardware: Hardware,
        engine: str = REFERENCE,
        goal: Goal = "throughput",
        sample: Sequence[str | Path] = (),
        say: Notify = ignore_message,
        with_scores: bool = False,
    ) -> None:
        require_images(trained.task, str(trained.folder))
        refuse_if(engine == "int8", "an export in int8 gives classes and no embeddings", "choose another --engine")
        self.card, self.preprocessing = trained.card, trained.preprocessing
        self.dimension = body_of(trained.net).channels[-1]
        with_scores = with_scores and trained.task.activation == "softmax"
        self.task = Embed(tuple(trained.task.classes), with_scores)
        # engines are kept by the card's task: these give other outputs than those of the network's own
        card = replace(trained.card, task=f"{self.task.name}-scores" if with_scores else self.task.name)
        # in a folder of its own there is no export in int8, which "auto" would try
        model = replace(trained, task=self.task, card=card, folder=trained.folder / self.task.name)
        samples = engine_samples(trained.card, sample, trained.preprocessing)
        self.decoders = decoders(hardware.workers)
        self.engine = open_engine(engine, model, hardware, goal, samples, say)

    @property
    def origin(self) -> dict[str, Any]:
        """What embeddings depend on, as plain values: two sets compare where these are equal."""
        return {
            "network": self.card.network,
            "weights_sha256": self.card.weights_sha256,
            "preprocessing": self.card.preprocessing,
        }

    def embed(self, images: Picture | Iterable[Picture]) -> np.ndarray:
        """The embeddings of images, float32 (n, D), in order; a single image gives a row.

        `images` are as for `Predictor.predict`. Raises DataError, which names it, for an image that cannot be read,
        SkipwayError for what is no image.
        """
        return matrix(self.stream(images), self.dimension)

    def stream(self, images: Picture | Iterable[Picture]) -> Iterator[Embedding]:
        """An Embedding for each image, in order, however many there are; with `error` for one that cannot be read."""
        return self.items(named(pictures_of(images), self.preprocessing))

    def items(self, images: Iterable[tuple[str, Item | DataError]]) -> Iterator[Embedding]:
        """Likewise for names and items, as those of a data set's split; arrays of grey images suit networks of colour,
        and the other way round."""
        converted = (
            (name, in_channels(item, self.preprocessing) if isinstance(item, np.ndarray) else item)
            for name, item in images
        )
        for name, found in scored_images(converted, self.preprocessing, self.engine, self.decoders):
            yield self.embedding(name, found)

    def embedding(self, name: str, found: Scored | DataError) -> Embedding:
        """With `error` too where the network's outputs are NaN or infinite: nothing is near them."""
        if isinstance(found, DataError):
            return self.task.unread(name, str(found))
        embedding = self.task.predict(name, found.outputs, ONE, 1.0, 1)
        if all(bool(output.isfinite().all()) for output in found.outputs):
            return embedding
        return self.task.unread(name, not_finite(embedding).error)


def matrix(embeddings: Iterable[Embedding], dimension: int) -> np.ndarray:
    """Embeddings as the rows of float32 (n, dimension). Raises DataError for an image that could not be read."""
    rows = []
    for found in embeddings:
        if found.vector is None:
            raise DataError(found.error)
        rows.append(found.vector)
    return np.stack(rows) if rows else np.empty((0, dimension), np.float32)
