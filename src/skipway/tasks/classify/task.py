"""Classification, one class for each image: loss, metrics and probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.dataset import Dataset
from skipway.models.base import ModelOutput
from skipway.tasks.base import Metrics
from skipway.tasks.classify import class_balance
from skipway.tasks.classify.losses import softmax_distillation, softmax_focal
from skipway.tasks.classify.pooling import mean_softmax
from skipway.tasks.classify.scores import ClassScores, main_scores


@dataclass(frozen=True)
class Classify(ClassScores):
    """Targets are class indices (N,) or, when mixed, (N, classes) of weights."""

    name: ClassVar[str] = "classify"
    metric: ClassVar[str] = "top1"
    pipeline_tag: ClassVar[str] = "image-classification"
    annotation: ClassVar[str] = "one class an image"
    figure_names: ClassVar[dict[str, str]] = {"train_top1": "train", "val_top1": "val"}
    activation: ClassVar[str] = "softmax"

    @property
    def several(self) -> bool:
        return False

    def score_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats; `class_weights` multiply what each class costs.

        The sum is divided by the number of images, not by their weights as torch's mean is: an image then has the
        same weight in any batch. Or the focal loss, of smoothed targets too.
        """
        if self.focal:
            soft = self.soft_targets(targets) * (1 - self.label_smoothing) + self.label_smoothing / self.outputs
            return softmax_focal(scores.float(), soft, self.class_weights)
        total = F.cross_entropy(
            scores.float(), targets, self.class_weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / len(scores)

    def distillation_loss(self, outputs: Tensor | ModelOutput, teacher: Tensor, temperature: float) -> Tensor:
        return softmax_distillation(main_scores(outputs).float(), teacher, temperature)

    def loss_weights(self, dataset: Dataset) -> np.ndarray:
        return class_balance.class_weights(dataset.train.labels, len(self.classes))

    def soft_targets(self, targets: Tensor) -> Tensor:
        return (targets if targets.ndim == 2 else F.one_hot(targets, self.outputs)).float()

    def counts(self, outputs: Tensor | ModelOutput, targets: Tensor) -> Tensor:
        """(2,): how many images were classified correctly, and how many there were."""
        correct = (main_scores(outputs).argmax(1) == targets).sum()
        return torch.stack([correct, torch.full_like(correct, len(targets))])

    def train_metrics(self, counts: Tensor) -> dict[str, float]:
        """Top-1 accuracy in [0, 1]."""
        correct, count = counts.tolist()
        return {"top1": correct / count}

    def metrics(self) -> Metrics:
        """Loss in nats, top-1 accuracy in [0, 1] and, for more than five classes, top-5: with fewer it would be 1."""
        from skipway.tasks.classify.metrics import ClassMetrics

        return ClassMetrics(self.unweighted())

    def summary(self, metrics: Mapping[str, Any]) -> str:
        low, high = metrics["top1_interval"]
        return f"top-1 {100 * metrics['top1']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"

    def pool(self, scores: Tensor) -> Tensor:
        return mean_softmax(scores)

    def class_probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes), summing to 1; scores are divided by `temperature` (Guo 2017)."""
        return (scores.float() / temperature).softmax(1)
