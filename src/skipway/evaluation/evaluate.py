"""A network judged on a split: scores in, every figure, class and prediction out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipway.bundle import Card, headline
from skipway.data.source import Source, Split, match_classes, with_validation
from skipway.errors import DataError
from skipway.evaluation.calibration import FEWEST, Reliability, cross_fitted, fit_temperature, reliability
from skipway.evaluation.measures import MEASURES
from skipway.tasks import task_named
from skipway.tasks.tag import THRESHOLD

Scorer = Callable[[Split], Tensor]  # images -> scores (n, outputs) float32 on the CPU, in the split's order


@dataclass(frozen=True)
class Scored:
    """The images of a split and what a network said of them.

    data, split: what the images are called; fingerprint: of the whole data; trained_on: whether the data are those of
    the training; left_out: (image, why) of those that no split has; scores: (n, outputs); seconds: it took.
    """

    data: str
    split: str
    classes: tuple[str, ...]
    images: Split
    fingerprint: str
    trained_on: bool
    left_out: tuple[tuple[str, str], ...]
    scores: Tensor
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    temperature: the card's, 1 where it has none; probabilities: (n, outputs) float32 at that temperature; metrics,
    per_class, confusion: as in `measures`, and with them the calibration errors, metrics["ece_uncalibrated"] at
    temperature 1 and metrics["ece"] at the card's; uncalibrated, calibrated: the bins behind the two, the second None
    where there is no temperature; cross_fitted: the temperature was fitted on these very images, so that the second is
    not of it, but of temperatures that were each fitted without the images they are applied to.
    """

    scored: Scored
    temperature: float
    probabilities: np.ndarray
    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray | None
    uncalibrated: Reliability
    calibrated: Reliability | None
    cross_fitted: bool

    def __repr__(self) -> str:
        figure = headline(self.metrics)
        return f"Evaluation({self.scored.data}, {self.scored.split}: {figure}, {self.metrics['n']:,} images)"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scored.classes

    @property
    def names(self) -> Sequence[str]:
        return self.scored.images.names

    @property
    def labels(self) -> np.ndarray:
        return self.scored.images.labels

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def said(self) -> np.ndarray:
        """The most likely class of each image, (n,); or with several labels whether each was said, (n, classes)."""
        return self.probabilities > THRESHOLD if self.several else self.scored.scores.argmax(1).numpy()

    @property
    def right(self) -> np.ndarray:
        """Whether each image was answered right, (n,): its class, or every one of its labels."""
        return (self.said == self.labels).all(1) if self.several else self.said == self.labels


def score(card: Card, source: Source, mark: str, split: str | None, scorer: Scorer) -> Scored:
    """A split of `source`, whose fingerprint is `mark`, with its scores; None takes test, or else val, or else all.

    Of the data that the network was trained on, val is cut as it was. Raises DataError for a split that does not exist,
    classes that the network does not know, or an image that cannot be read.
    """
    trained_on = mark == card.data["fingerprint"]
    if trained_on:
        source = with_validation(source, card.recipe["val"], card.recipe["seed"])
    if source.multilabel != (card.task == "tag"):
        kinds = ("one class an image", "several labels an image")
        theirs, ours = kinds[source.multilabel], kinds[not source.multilabel]
        raise DataError(f"{source.name} has {theirs}, and the network gives {ours}: judge it on data of its kind")
    source = match_classes(source, card.classes)
    name = split or source.judged_on()
    images = source.split(name)
    if not len(images):
        raise DataError(f"{source.name} has no image in {name}: name another split")
    if name == "train" and not trained_on and split is None:
        name = "all"  # a folder of classes that is no training set of ours
    start = time.perf_counter()
    scores = scorer(images)
    seconds = time.perf_counter() - start
    return Scored(source.name, name, tuple(card.classes), images, mark, trained_on, source.left_out, scores, seconds)


def measure(card: Card, scored: Scored) -> Evaluation:
    """Every figure of `scored`, with the probabilities that the card's temperature gives."""
    task, scores, labels = task_named(card.task, scored.classes), scored.scores, scored.images.labels
    measured = MEASURES[card.task](scores, torch.from_numpy(labels), scored.classes)
    probabilities = task.probabilities(scores, card.temperature).numpy()
    uncalibrated = reliability(task.probabilities(scores).numpy(), labels)
    fitted_here = scored.trained_on and card.calibration is not None and card.calibration["split"] == scored.split
    calibrated = None
    if fitted_here:
        calibrated = reliability(cross_fitted(task, scores, torch.from_numpy(labels)).numpy(), labels)
    elif card.calibration:
        calibrated = reliability(probabilities, labels)
    errors = {"ece": (calibrated or uncalibrated).ece, "ece_uncalibrated": uncalibrated.ece}
    return Evaluation(
        scored=scored,
        temperature=card.temperature,
        probabilities=probabilities,
        metrics={**measured.metrics, **errors},
        per_class=measured.per_class,
        confusion=measured.confusion,
        uncalibrated=uncalibrated,
        calibrated=calibrated,
        cross_fitted=fitted_here,
    )


def calibrate(card: Card, scored: Scored) -> dict[str, Any] | None:
    """What the card says of a temperature fitted on `scored`.

    None where there are fewer than FEWEST images, where no temperature fits best (see `fit_temperature`), and where it
    would not help: unless temperatures fitted on a part of the images lower the calibration error of the others.
    """
    task, labels = task_named(card.task, scored.classes), torch.from_numpy(scored.images.labels)
    if len(labels) < FEWEST:
        return None
    temperature = fit_temperature(task, scored.scores, labels)
    if temperature is None:
        return None
    before = reliability(task.probabilities(scored.scores).numpy(), scored.images.labels)
    after = reliability(cross_fitted(task, scored.scores, labels).numpy(), scored.images.labels)
    return {"temperature": temperature, "split": scored.split, "n": len(labels)} if after.ece < before.ece else None
