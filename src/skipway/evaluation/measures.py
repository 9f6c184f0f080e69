"""The figures of a judged split, from scores and labels: one class an image, or several labels an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix
from torch import Tensor

from skipway.tasks import Classify, Tag
from skipway.tasks.tag import THRESHOLD


@dataclass(frozen=True)
class Measured:
    """metrics: name -> figure; per_class: a row for each class, in the network's order.

    confusion: counts (classes, classes), a row for each true class; None where an image has several labels.
    """

    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray | None


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `right` in `n`."""
    found = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mean_of(rows: list[dict[str, Any]], key: str) -> float:
    """The mean over the classes that have the figure, which those without an image may not."""
    return float(np.mean([row[key] for row in rows if row[key] is not None]))


def class_row(name: str, hits: int, true: int, said: int) -> dict[str, Any]:
    """A class's n, recall with its interval, precision and F1, from counts of images.

    A figure without images behind it is None.
    """
    return {
        "class": name,
        "n": true,
        "recall": hits / true if true else None,
        "recall_interval": interval(hits, true) if true else None,
        "precision": hits / said if said else None,
        "f1": 2 * hits / (true + said) if true + said else None,
    }


def class_table(confusion: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """`class_row` of each class of a confusion matrix."""
    hits, true, said = np.diag(confusion).tolist(), confusion.sum(1).tolist(), confusion.sum(0).tolist()
    return [class_row(*row) for row in zip(classes, hits, true, said, strict=True)]


def of_classes(scores: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Measured:
    """One class an image. scores (n, classes), labels (n,).

    metrics: n; loss in nats; top1 and, of more than five classes, top5 in [0, 1] with their intervals;
    balanced_accuracy, the mean recall of the classes that have images; f1_macro, the mean F1 of the classes that have
    images or are answered.
    """
    n = len(labels)
    metrics: dict[str, Any] = {"n": n, **Classify(classes).meter(scores, labels)}
    for key in [name for name in ("top1", "top5") if name in metrics]:
        right = round(metrics[key] * n)  # the meter's share is in float32
        metrics |= {key: right / n, f"{key}_interval": interval(right, n)}
    confusion = confusion_matrix(labels.numpy(), scores.argmax(1).numpy(), labels=range(len(classes)))
    rows = class_table(confusion, classes)
    metrics |= {"balanced_accuracy": mean_of(rows, "recall"), "f1_macro": mean_of(rows, "f1")}
    return Measured(metrics, rows, confusion)


def of_labels(scores: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Measured:
    """Several labels an image. scores (n, classes); labels (n, classes) of 0 and 1. A label is said above THRESHOLD.

    metrics: n; what the task meters (loss in nats, map, f1_macro, f1_micro); exact, the share of images with every
    label right, with its interval. A class's row has its average precision too; None without an image that has it.
    """
    task, n = Tag(classes), len(labels)
    exact = int(((task.probabilities(scores) > THRESHOLD) == labels.bool()).all(1).sum())
    metrics: dict[str, Any] = {"n": n, **task.meter(scores, labels)}
    metrics |= {"exact": exact / n, "exact_interval": interval(exact, n)}
    rows = []
    for i, (name, (hits, wrong, missed)) in enumerate(zip(classes, task.tally(scores, labels).tolist(), strict=True)):
        present = hits + missed
        precision = float(average_precision_score(labels[:, i], scores[:, i])) if present else None
        rows.append({**class_row(name, hits, present, hits + wrong), "ap": precision})
    return Measured(metrics, rows, None)


MEASURES: dict[str, Callable[[Tensor, Tensor, tuple[str, ...]], Measured]] = {"classify": of_classes, "tag": of_labels}
