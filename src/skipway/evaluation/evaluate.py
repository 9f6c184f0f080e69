"""A bundle judged on a split: accuracy with its interval, every class, every confusion, every prediction."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from skipway.bundle import Card
from skipway.data.loader import in_order
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, match_classes, with_validation
from skipway.hardware import Hardware
from skipway.tasks import TASKS
from skipway.tasks.inference import batch_size, scores_of


@dataclass(frozen=True)
class Evaluation:
    """What was measured. `metrics`: n, loss in nats, top1 and top5 in [0, 1] and their 95 % intervals.

    probabilities: (n, classes) float32 in the split's order; labels: (n,); confusion: (classes, classes), a row
    for each true class; seconds: of decoding and inference; trained_on: whether the data are those of the training.
    """

    split: str
    data: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    confusion: np.ndarray
    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    seconds: float
    trained_on: bool


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `right` in `n`."""
    found = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def class_table(confusion: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """For each class: n, recall with its interval, precision, F1. A figure without images behind it is None."""
    rows = []
    for i, name in enumerate(classes):
        hits, true, said = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        rows.append(
            {
                "class": name,
                "n": true,
                "recall": hits / true if true else None,
                "recall_interval": interval(hits, true) if true else None,
                "precision": hits / said if said else None,
                "f1": 2 * hits / (true + said) if true + said else None,
            }
        )
    return rows


def evaluate(
    net: nn.Module, card: Card, source: Source, split: str | None, hardware: Hardware, trained_on: bool
) -> Evaluation:
    """Judge `net`, which is on `hardware`'s device, on a split of `source`; None takes test, or else val, or else all.

    `trained_on` says that `source` is what the bundle was trained on: val is then cut as it was. Raises DataError for a
    split that does not exist, classes that the network does not know, or an image that cannot be read.
    """
    if trained_on:
        source = with_validation(source, card.recipe["val"], card.recipe["seed"])
    source = match_classes(source, card.classes)
    name = split or source.judged_on()
    chosen = source.split(name)
    if name == "train" and not trained_on and split is None:
        name = "all"  # a folder of classes that is no training set of ours
    task = TASKS[card.task](tuple(card.classes))
    preprocessing = Preprocessing(**card.preprocessing)
    start = time.perf_counter()
    workers = hardware.workers if preprocessing.size > 64 else 0
    batches = (images for images, _ in in_order(chosen, preprocessing, batch_size(hardware.device), workers))
    scores = torch.cat(list(scores_of(net, batches, preprocessing, hardware.device)))
    seconds = time.perf_counter() - start
    labels = torch.from_numpy(chosen.labels)
    metrics: dict[str, Any] = {"n": len(chosen), **task.meter(scores, labels)}
    for key in ("top1", "top5"):
        metrics[f"{key}_interval"] = interval(round(metrics[key] * len(chosen)), len(chosen))
    predicted = task.probabilities(scores)
    confusion = multiclass_confusion_matrix(predicted.argmax(1), labels, task.outputs).numpy()
    return Evaluation(
        split=name,
        data=source.name,
        classes=tuple(card.classes),
        names=tuple(chosen.names),
        labels=chosen.labels,
        probabilities=predicted.numpy(),
        confusion=confusion,
        metrics=metrics,
        per_class=class_table(confusion, tuple(card.classes)),
        seconds=seconds,
        trained_on=trained_on,
    )
