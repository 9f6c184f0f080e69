"""Embeddings of images: `skipway embed`, and the networks that embed, by run or by name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from skipway import models
from skipway.bundle.hub import is_on_hub
from skipway.commands.arguments import Folder, as_paths, resolve_hardware
from skipway.commands.import_weights import InputOptions, card_of, class_names, network_of
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.deploy.predict.embedder import Embedder
from skipway.deploy.predict.image_paths import images_of
from skipway.deploy.predict.scoring import SAMPLE
from skipway.deploy.predict.writer import Count
from skipway.embedding.features_file import Features, writer_for
from skipway.embedding.network import Embedding
from skipway.errors import DataError, SkipwayError
from skipway.hardware import Hardware
from skipway.models.pretrained.registry import all_weights
from skipway.models.pretrained.weights import find, load
from skipway.tasks import task_for_network
from skipway.trained import TrainedModel


def open_model(model: Folder, hardware: Hardware) -> TrainedModel:
    """The network to embed with, on `hardware`'s device: a run, in a folder or on the hub, the name of weights
    as "embedded" or "resnet50.tv_v2", or that of a network, for its most accurate published weights.

    Raises SkipwayError for anything else.
    """
    text, path = str(model), Path(model)
    if is_on_hub(text) or path.is_dir() or (path / "card.json").exists():
        return TrainedModel.load(text, hardware)
    if path.is_file():
        raise SkipwayError(f"{text} is a file: make a run of weights with `skipway weights bundle {text} --out RUN`")
    return pretrained_model(best_weights(text) if models.is_known(text) else text, hardware)


def best_weights(network: str) -> str:
    """The name of the published weights of `network` with the highest top-1 accuracy. Raises SkipwayError for none."""
    records = [record for record in all_weights().values() if record.net == network]
    if not records:
        raise SkipwayError(f"there are no published weights of {network}: `skipway weights list` shows all names")
    return max(records, key=lambda record: record.top1 or 0.0).name


def pretrained_model(text: str, hardware: Hardware) -> TrainedModel:
    """The network of the named weights `text`, downloaded where necessary, as if loaded from a bundle."""
    pretrained = find(None, text)
    if pretrained.record is None:
        raise SkipwayError(
            f"{text} does not say which network it is of: make a run of it with `skipway weights bundle`"
        )
    name = pretrained.record.net
    network = network_of(name, pretrained)
    task = task_for_network(name, class_names(InputOptions(), pretrained, network["classes"]))
    net = task.build(network)
    load(net, pretrained, name)
    card = card_of(text, pretrained, InputOptions(), task, network, net)
    card = replace(card, weights_sha256=card.recipe["sha256"])
    prepare = Preprocessing(**card.preprocessing)
    return TrainedModel(hardware.place(net.float().eval()), task, prepare, card, Path(pretrained.record.name))


def open_embedder(
    model: Folder,
    hardware: Hardware | None = None,
    engine: str = "eager",
    sample: Sequence[str | Path] = (),
    notify: Notify = ignore_message,
    with_scores: bool = False,
) -> Embedder:
    """An `Embedder` of `model` (see `open_model`). Raises SkipwayError."""
    place = resolve_hardware(hardware)
    return Embedder(open_model(model, place), place, engine, "throughput", sample, notify, with_scores)


def embed_files(
    model: Folder,
    images: Folder | Sequence[Folder],
    engine: str = "eager",
    hardware: Hardware | None = None,
    notify: Notify = ignore_message,
    with_scores: bool = False,
) -> tuple[Embedder, Iterator[Embedding]]:
    """The embedder of `model`, and the embeddings of files, folders, videos and patterns. Engine "auto" is chosen on
    the first of them. Raises SkipwayError."""
    waiting = images_of(as_paths(images))
    first = list(islice(waiting, SAMPLE)) if engine == "auto" else []
    embedder = open_embedder(model, hardware, engine, first, notify, with_scores)
    return embedder, embedder.stream(chain(first, waiting))


def write_embeddings(embeddings: Iterable[Embedding], embedder: Embedder, model: Folder, out: Path) -> Count:
    """Every embedding as a row of the new file `out`, parquet or npy; unreadable images are named on standard error.

    Raises SkipwayError for any other file.
    """
    count = Count()

    def counted() -> Iterator[Embedding]:
        nonlocal count
        for found in embeddings:
            count = count.add(found)
            yield found

    writer_for(out)(counted(), out, embedder.dimension, origin_of(embedder, model))
    return count


def origin_of(embedder: Embedder, model: Folder) -> dict[str, Any]:
    """What embeddings depend on, and what the network was opened as."""
    return {"model": str(model), **embedder.origin}


def gather(embeddings: Iterable[Embedding], origin: dict[str, Any]) -> tuple[Features, Count]:
    """The embeddings of the readable images; the others are named on standard error. Raises DataError where no image
    can be read."""
    count, names, vectors = Count(), [], []
    for found in embeddings:
        count = count.add(found)
        if found.vector is not None:
            names.append(found.name)
            vectors.append(found.vector)
    if not names:
        raise DataError(f"none of the {count.images} images can be read: give others")
    return Features(names, np.stack(vectors), origin), count
