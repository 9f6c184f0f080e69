"""Metrics from scores and labels: one class an image, or any number of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix
from torch import Tensor

from skipway.tasks.base import Outputs
from skipway.tasks.classify.prediction import THRESHOLD
from skipway.tasks.classify.protocol import ScoresTask


@dataclass(frozen=True)
class MetricResult:
    """metrics: name -> figure; per_class: a row for each class, in the network's order.

    confusion: counts (classes, classes), a row for each true class; None where an image has several labels.
    """

    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray | None


def interval(correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share `correct` / `n`."""
    found = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mean_of(rows: list[dict[str, Any]], key: str) -> float:
    """The mean over the classes that have the figure; it is None for those without an image."""
    return float(np.mean([row[key] for row in rows if row[key] is not None]))


def class_row(name: str, hits: int, true: int, predicted: int) -> dict[str, Any]:
    """A class's n, recall with its interval, precision and F1, from counts of images.

    A figure without images behind it is None.
    """
    return {
        "class": name,
        "n": true,
        "recall": hits / true if true else None,
        "recall_interval": interval(hits, true) if true else None,
        "precision": hits / predicted if predicted else None,
        "f1": 2 * hits / (true + predicted) if true + predicted else None,
    }


def class_table(confusion: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """`class_row` of each class of a confusion matrix."""
    hits, true, predicted = np.diag(confusion).tolist(), confusion.sum(1).tolist(), confusion.sum(0).tolist()
    return [class_row(*row) for row in zip(classes, hits, true, predicted, strict=True)]


class LossMean:
    """The mean loss over images, accumulated batch by batch."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, int]] = []  # mean, images

    def update(self, mean: float, images: int) -> None:
        self.parts.append((mean, images))

    def compute(self) -> float:
        if len(self.parts) == 1:  # unchanged, without further rounding
            return self.parts[0][0]
        return sum(mean * n for mean, n in self.parts) / sum(n for _, n in self.parts)


class ClassMetrics:
    """For one class an image: loss in nats, top1 in [0, 1] and, of more than five classes, top5."""

    def __init__(self, task: ScoresTask) -> None:
        self.task, self.loss, self.images = task, LossMean(), 0
        self.correct = {f"top{k}": 0 for k in (1, 5) if k == 1 or task.outputs > k}

    def update(self, outputs: Outputs, targets: Tensor) -> None:
        scores = outputs[0]
        self.loss.update(self.task.score_loss(scores, targets).item(), len(targets))
        self.images += len(targets)
        self.correct["top1"] += int((scores.argmax(1) == targets).sum())
        if "top5" in self.correct:
            self.correct["top5"] += int((scores.topk(5, 1).indices == targets[:, None]).any(1).sum())

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.loss.parts += other.loss.parts
            self.images += other.images
            self.correct = {name: count + other.correct[name] for name, count in self.correct.items()}

    def compute(self) -> dict[str, float]:
        shares = {name: count / self.images for name, count in self.correct.items()}
        return {"loss": self.loss.compute(), **shares}


def of_classes(task: ScoresTask, scores: Tensor, labels: Tensor) -> MetricResult:
    """One class an image. scores (n, classes), labels (n,).

    metrics: n; loss in nats; top1 and, of more than five classes, top5 in [0, 1] with their intervals;
    balanced_accuracy, the mean recall of the classes that have images; f1_macro, the mean F1 of the classes that have
    images or are predicted.
    """
    n, found = len(labels), ClassMetrics(task)
    found.update((scores,), labels)
    metrics: dict[str, Any] = {"n": n, **found.compute()}
    for key, correct in found.correct.items():
        metrics |= {key: correct / n, f"{key}_interval": interval(correct, n)}
    confusion = confusion_matrix(labels.numpy(), scores.argmax(1).numpy(), labels=range(len(task.classes)))
    rows = class_table(confusion, task.classes)
    metrics |= {"balanced_accuracy": mean_of(rows, "recall"), "f1_macro": mean_of(rows, "f1")}
    return MetricResult(metrics, rows, confusion)


def of_labels(
    task: ScoresTask, scores: Tensor, labels: Tensor, metrics: dict[str, float], predicted: Tensor | None = None
) -> MetricResult:
    """Any number of classes an image. scores (n, classes); labels (n, classes) of 0 and 1; metrics: the task's.

    Besides these: n; exact, the share of images with every label predicted correctly at THRESHOLD, with its interval. A
    class's row has its average precision too; None without an image that has it. predicted: bool (n, classes), by other
    thresholds, at which exact and F1 are then; f1_macro_at_half and f1_micro_at_half are F1 at THRESHOLD.
    """
    n = len(labels)
    if predicted is None:
        predicted, counts = task.class_probabilities(scores) > THRESHOLD, task.counts(scores, labels)
    else:
        counts = counts_of(predicted, labels.bool())
        halves = {f"{key}_at_half": metrics[key] for key in ("f1_macro", "f1_micro")}
        metrics = {**metrics, **task.train_metrics(counts), **halves}
    exact = int((predicted == labels.bool()).all(1).sum())
    figures: dict[str, Any] = {"n": n, **metrics, "exact": exact / n, "exact_interval": interval(exact, n)}
    rows = []
    for i, (name, (hits, wrong, missed)) in enumerate(zip(task.classes, counts.tolist(), strict=True)):
        present = hits + missed
        precision = float(average_precision_score(labels[:, i], scores[:, i])) if present else None
        rows.append({**class_row(name, hits, present, hits + wrong), "ap": precision})
    return MetricResult(figures, rows, None)


def counts_of(predicted: Tensor, present: Tensor) -> Tensor:
    """(classes, 3): true positives, false positives, false negatives of bool (n, classes) each."""
    counted = (predicted & present, predicted & ~present, ~predicted & present)
    return torch.stack([one.sum(0) for one in counted], 1)
