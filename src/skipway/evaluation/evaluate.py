"""Outputs of a network for a split, from which the task computes metrics."""

import time
from collections.abc import Callable

from skipway.bundle import Card
from skipway.data.dataset import Dataset, Split, match_classes, with_validation
from skipway.errors import DataError
from skipway.tasks import TASKS
from skipway.tasks.base import Outputs, SplitOutputs

Scorer = Callable[[Split], Outputs]  # images -> outputs, float32 on the CPU, in the split's order


def score(card: Card, dataset: Dataset, fingerprint: str, split: str | None, scorer: Scorer) -> SplitOutputs:
    """A split of `dataset`, whose fingerprint is given, with its outputs; None: test, or else val, or else all.

    On the data that the network was trained on, val is split off as in training. Raises DataError for a split that does
    not exist, classes that the network does not have, or an image that cannot be read.
    """
    trained_on = fingerprint == card.data["fingerprint"]
    if trained_on:
        dataset = with_validation(dataset, card.recipe["val"], card.recipe["seed"])
    if dataset.task != card.task:
        theirs, ours = TASKS[dataset.task].annotation, TASKS[card.task].annotation
        raise DataError(f"{dataset.name} has {theirs}, the network predicts {ours}: evaluate it on data for its task")
    dataset = match_classes(dataset, card.classes)
    name = split or dataset.eval_split()
    images = dataset.split(name)
    if not len(images):
        raise DataError(f"{dataset.name} has no image in {name}: name another split")
    if name == "train" and not trained_on and split is None:
        name = "all"  # class folders without splits, that the network was not trained on
    start = time.perf_counter()
    outputs = scorer(images)
    seconds = time.perf_counter() - start
    train = dataset.train if trained_on else None
    return SplitOutputs(
        dataset.name,
        name,
        tuple(card.classes),
        images,
        fingerprint,
        trained_on,
        dataset.left_out,
        outputs,
        seconds,
        train,
    )
