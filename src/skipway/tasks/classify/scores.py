"""Base class of tasks whose network gives a score for each class."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skipway.data.dataset import Dataset
from skipway.data.loader import Batch
from skipway.data.preprocess import Preprocessing
from skipway.models.base import ModelOutput, Network
from skipway.tasks.aux_loss import with_auxiliary_losses
from skipway.tasks.base import Evaluation, Explain, LossResult, Outputs, Parity, Presenter, Reporter, SplitOutputs, Task
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.classify import class_balance
from skipway.tasks.classify.decision import Decision
from skipway.tasks.classify.losses import GAMMA
from skipway.tasks.classify.prediction import ClassPrediction, above


def main_scores(outputs: Tensor | ModelOutput) -> Tensor:
    """The scores of the main classifier."""
    return outputs.scores if isinstance(outputs, ModelOutput) else outputs


@dataclass(frozen=True)
class ClassScores(Task):
    """A task with a score for each of `classes`, the names in the order of the network's outputs.

    label_smoothing, class_weights (classes,), focal: of the loss in training. decision: which answers are unsure; None
    where that is not asked. thresholds: of each class's probability, above which it is predicted, where an image may
    have several; empty: THRESHOLD.
    """

    calibrates: ClassVar[str] = "temperature"
    criteria: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal")
    distils: ClassVar[bool] = True
    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    focal: bool = False
    decision: Decision | None = None
    thresholds: tuple[float, ...] = ()

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> Self:
        return cls(tuple(classes))

    @property
    @abstractmethod
    def several(self) -> bool:
        """Whether an image may have any number of classes."""

    @abstractmethod
    def score_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats of one classifier's scores (N, classes)."""

    @abstractmethod
    def counts(self, outputs: Any, targets: Tensor) -> Tensor: ...

    @abstractmethod
    def loss_weights(self, dataset: Dataset) -> np.ndarray:
        """(classes,) weights in the loss that compensate for class imbalance."""

    # training

    def for_training(self, dataset: Dataset, options: Mapping[str, Any], device: torch.device) -> Self:
        weights = None
        if options["balance"] == "weights":
            weights = torch.from_numpy(self.loss_weights(dataset)).to(device)
        focal = options["criterion"] == "focal"
        return replace(self, label_smoothing=options["label_smoothing"], class_weights=weights, focal=focal)

    def describe(self, dataset: Dataset, options: Mapping[str, Any]) -> str:
        weights = self.loss_weights(dataset) if options["balance"] == "weights" else None
        balance = class_balance.describe(dataset, options["balance"], weights, clips=self.several)
        focal = f"; focal loss, gamma {GAMMA:g}" if options["criterion"] == "focal" else ""
        return f"{super().describe(dataset, options)}; {balance}{focal}"

    def sampling_weights(self, dataset: Dataset) -> np.ndarray:
        return class_balance.sampling_weights(dataset.train.labels, len(self.classes))

    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        """With auxiliary classifiers: see `tasks.aux_loss`."""
        outputs = forward(batch.images)
        return LossResult({"loss": self.output_loss(outputs, batch.targets)}, outputs)

    def output_loss(self, outputs: Tensor | ModelOutput, targets: Any) -> Tensor:
        """The loss of all classifiers of a network."""
        return with_auxiliary_losses(lambda scores: self.score_loss(scores, targets), outputs)

    def chance_loss(self, outputs: Tensor | ModelOutput, targets: Tensor) -> Tensor:
        """The loss of scores that are all 0."""
        zeros = torch.zeros_like(main_scores(outputs))
        if isinstance(outputs, ModelOutput):
            return self.output_loss(ModelOutput(zeros, tuple(map(torch.zeros_like, outputs.auxiliary))), targets)
        return self.output_loss(zeros, targets)

    # evaluation

    def unweighted(self) -> Self:
        """The task with the loss that evaluation reports: cross-entropy without label smoothing and class weights."""
        return replace(self, label_smoothing=0.0, class_weights=None, focal=False)

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Evaluation:
        from skipway.tasks.classify.evaluation import measure  # SciPy and scikit-learn, which prediction does not need

        return measure(self, scored, calibration)

    def calibrate(self, scored: SplitOutputs) -> dict[str, Any] | None:
        from skipway.tasks.classify.evaluation import calibrate

        return calibrate(self, scored)

    # prediction

    def predict(
        self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int
    ) -> ClassPrediction:
        """The `top` classes with their probabilities, the most likely first."""
        probabilities = self.class_probabilities(outputs[0].unsqueeze(0), temperature)[0]
        found = probabilities.topk(min(top, self.outputs))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        classes = tuple((self.classes[place], value) for place, value in pairs)
        if self.thresholds:
            predicted = above(self.classes, probabilities.tolist(), self.thresholds)
            return ClassPrediction(name, "", classes, predicted=predicted)
        marks = self.decision.of(classes[0][1], outputs[0]) if self.decision else ()
        return ClassPrediction(name, "", classes, *marks)

    def unread(self, name: str, error: str) -> ClassPrediction:
        return ClassPrediction(name, error)

    def parity(self, expected: Outputs, found: Outputs, precision: str) -> Parity:
        from skipway.tasks.classify.parity import check_parity

        return check_parity(expected[0], found[0], self, precision)

    # presentation

    @property
    def presenter(self) -> Presenter:
        from skipway.tasks.classify.present import ClassPresenter

        return ClassPresenter(decides=self.decision is not None)

    @property
    def reporter(self) -> Reporter:
        from skipway.tasks.classify.reporter import ClassReporter

        return ClassReporter()

    def explainer(self, net: Network, preprocessing: Preprocessing, device: torch.device) -> Explain:
        from skipway.tasks.classify.error_gallery import explain_with

        return explain_with(net, preprocessing, device)
