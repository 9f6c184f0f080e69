"""Evaluation of a task with classes: metrics, per-class figures, probabilities and calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipway.reporting.reliability import Reliability
from skipway.tasks.base import SplitOutputs
from skipway.tasks.classify.calibration import FEWEST, cross_fitted, fit_temperature, reliability
from skipway.tasks.classify.decision import ENERGY_KEPT
from skipway.tasks.classify.metrics import MetricResult, of_classes, of_labels
from skipway.tasks.classify.out_of_distribution import KEPT, energy
from skipway.tasks.classify.prediction import THRESHOLD
from skipway.tasks.classify.protocol import ScoresTask
from skipway.tasks.classify.selective import RiskCoverage, operating_points, risk_coverage
from skipway.tasks.tag.thresholds import KEY, choose_thresholds


@dataclass(frozen=True, repr=False)
class ClassEvaluation:
    """The results on a split.

    temperature: the card's, 1 where it has none; probabilities: (n, outputs) float32 at that temperature; metrics,
    per_class, confusion: as in `metrics.py`, and with them the calibration errors, metrics["ece_uncalibrated"] at
    temperature 1 and metrics["ece"] at the card's; uncalibrated, calibrated: the bins behind the two, the second None
    where there is no temperature; cross_fitted: the temperature was fitted on these very images, so that the second is
    not of it, but of temperatures that were each fitted without the images they are applied to; summary: the main
    figure as text; risk: error against coverage, None for several labels; thresholds: of the classes' probabilities,
    above which they are predicted here, empty: THRESHOLD. On val of the training the metrics have the `thresholds`
    chosen there, and the others are at THRESHOLD.
    """

    scored: SplitOutputs
    summary: str
    temperature: float
    probabilities: np.ndarray
    metrics: dict[str, Any]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray | None
    uncalibrated: Reliability
    calibrated: Reliability | None
    cross_fitted: bool
    risk: RiskCoverage | None = None
    thresholds: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"Evaluation({self.scored.data}, {self.scored.split}: {self.summary}, {self.metrics['n']:,} images)"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        return notebook.evaluation(self.scored.data, self.scored.split, self.summary, self.metrics)

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
    def predicted(self) -> np.ndarray:
        """The most likely class of each image, (n,); with several labels whether each was predicted, (n, classes)."""
        if not self.several:
            return self.scored.scores.argmax(1).numpy()
        return self.probabilities > np.array(self.thresholds or THRESHOLD)

    @property
    def correct(self) -> np.ndarray:
        """Whether each image was predicted correctly, (n,): its class, or every one of its labels."""
        return (self.predicted == self.labels).all(1) if self.several else self.predicted == self.labels


def measure(task: ScoresTask, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> ClassEvaluation:
    """All results on `scored`, with probabilities calibrated by the card's `calibration`."""
    scores, labels = scored.scores, scored.images.labels
    targets = torch.from_numpy(labels)
    temperature = float(calibration["temperature"]) if calibration else 1.0
    probabilities = task.class_probabilities(scores, temperature).numpy()
    on_val = scored.trained_on and scored.split == "val"  # what thresholds are chosen on does not measure them
    thresholds = () if on_val else task.thresholds
    if task.several:
        measured = measured_labels(task, scored, probabilities, thresholds, on_val)
    else:
        measured = of_classes(task, scores, targets)
    uncalibrated = reliability(task.class_probabilities(scores).numpy(), labels)
    fitted_here = scored.trained_on and calibration is not None and calibration["split"] == scored.split
    calibrated = None
    if fitted_here:
        calibrated = reliability(cross_fitted(task, scores, targets).numpy(), labels)
    elif calibration:
        calibrated = reliability(probabilities, labels)
    risk, points = None, {}
    if not task.several:
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
        risk = risk_coverage(confidence, correct)
        points = selective_metrics(confidence, correct, scores)
    metrics = {
        **measured.metrics,
        **points,
        "ece": (calibrated or uncalibrated).ece,
        "ece_uncalibrated": uncalibrated.ece,
    }
    return ClassEvaluation(
        scored=scored,
        summary=task.summary(metrics),
        temperature=temperature,
        probabilities=probabilities,
        metrics=metrics,
        per_class=measured.per_class,
        confusion=measured.confusion,
        uncalibrated=uncalibrated,
        calibrated=calibrated,
        cross_fitted=fitted_here,
        risk=risk,
        thresholds=thresholds,
    )


def measured_labels(
    task: ScoresTask, scored: SplitOutputs, probabilities: np.ndarray, thresholds: tuple[float, ...], on_val: bool
) -> MetricResult:
    """Any number of classes an image, predicted above `thresholds` (empty: THRESHOLD); with those chosen `on_val`."""
    labels = scored.images.labels
    targets, accumulator = torch.from_numpy(labels), task.metrics()
    accumulator.update(scored.outputs, targets)
    predicted = torch.from_numpy(probabilities > np.array(thresholds)) if thresholds else None
    found = of_labels(task, scored.scores, targets, accumulator.compute(), predicted)
    chosen = choose_thresholds(probabilities, labels) if on_val else list(thresholds)
    if not chosen:
        return found
    rows = [{**row, "threshold": one} for row, one in zip(found.per_class, chosen, strict=True)]
    return MetricResult(found.metrics | ({KEY: chosen} if on_val else {}), rows, None)


def selective_metrics(confidence: np.ndarray, correct: np.ndarray, scores: Tensor) -> dict[str, Any]:
    """operating_points, thresholds of the confidence (n,) for several errors (`selective.py`); aurc, the area under
    error by coverage; and the energy that KEPT of the images reach."""
    return {
        "aurc": risk_coverage(confidence, correct).aurc,
        "operating_points": [point.to_json() for point in operating_points(confidence, correct)],
        ENERGY_KEPT: float(np.quantile(energy(scores).numpy(), 1 - KEPT)),
    }


def calibrate(task: ScoresTask, scored: SplitOutputs) -> dict[str, Any] | None:
    """The card's entry for a temperature fitted on `scored`.

    None where there are fewer than FEWEST images, where no temperature fits best (see `fit_temperature`), and where it
    does not help: temperatures fitted on a part of the images must lower the calibration error of the others.
    """
    labels = torch.from_numpy(scored.images.labels)
    if len(labels) < FEWEST:
        return None
    temperature = fit_temperature(task, scored.scores, labels)
    if temperature is None:
        return None
    before = reliability(task.class_probabilities(scored.scores).numpy(), scored.images.labels)
    after = reliability(cross_fitted(task, scored.scores, labels).numpy(), scored.images.labels)
    return {"temperature": temperature, "split": scored.split, "n": len(labels)} if after.ece < before.ece else None
