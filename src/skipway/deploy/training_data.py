"""The data that a network was trained on, opened again as they were then."""

from dataclasses import replace
from typing import Any

import numpy as np

from skipway.bundle import Card
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.read_options import ReadOptions


def read_options_of(card: Card) -> ReadOptions:
    """How the training data were read."""
    return ReadOptions(**card.data.get("reading", {}))


def reopen_dataset(data: str | Dataset | None, card: Card) -> tuple[Dataset, str]:
    """`data`, or those that the network was trained on (None), and their fingerprint.

    Those of the training are read as they were then, and without the images that the training left out: their
    fingerprint is then that of the card. Others are read for the same task, and their masks with the same names. Raises
    DataError where they cannot be opened.
    """
    if isinstance(data, Dataset):
        dataset = data
    else:
        own = data is None or data == card.data["name"]
        reading = read_options_of(card)
        others = ReadOptions(ignore=reading.ignore, class_names=reading.class_names, task=reading.task)
        dataset = open_dataset(card.data["name"], reading) if own else open_dataset(str(data), others)
    dataset = without_bad_annotations(dataset)
    mark = dataset.fingerprint
    if mark != card.data["fingerprint"] and card.data.get("left_out"):
        fewer = without(dataset, dict(card.data["left_out"]))
        if fewer.fingerprint == card.data["fingerprint"]:
            return fewer, card.data["fingerprint"]
    return dataset, mark


def without_bad_annotations(dataset: Dataset) -> Dataset:
    """`dataset`, its images whose annotations are wrong listed among those left out."""
    bad = tuple((name, why) for _, name, why in dataset.bad_annotations)
    return replace(dataset, left_out=(*dataset.left_out, *bad), bad_annotations=()) if bad else dataset


def without(dataset: Dataset, reasons: dict[str, str]) -> Dataset:
    """`dataset` less the images named in `reasons`, which say why."""
    fewer: dict[str, Any] = {}
    gone: list[tuple[str, str]] = []
    for key, split in dataset.splits.items():
        fewer[key] = split.take(np.array([i for i, name in enumerate(split.names) if name not in reasons], dtype=int))
        gone += [(name, reasons[name]) for name in split.names if name in reasons]
    return replace(dataset, **fewer, left_out=(*dataset.left_out, *gone))
