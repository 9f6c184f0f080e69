"""Tagging (multi-label classification): any number of classes for each image, each predicted independently."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.dataset import Dataset
from skipway.models.base import ModelOutput
from skipway.tasks.base import Metrics, Presenter
from skipway.tasks.classify import class_balance
from skipway.tasks.classify.losses import sigmoid_distillation, sigmoid_focal
from skipway.tasks.classify.pooling import mean_sigmoid
from skipway.tasks.classify.prediction import THRESHOLD
from skipway.tasks.classify.scores import ClassScores, main_scores
from skipway.tasks.tag.thresholds import KEY, thresholds_in


@dataclass(frozen=True)
class Tag(ClassScores):
    """Targets are (N, classes) in [0, 1]."""

    name: ClassVar[str] = "tag"
    metric: ClassVar[str] = "map"
    pipeline_tag: ClassVar[str] = "image-classification"
    annotation: ClassVar[str] = "any number of classes an image"
    figure_names: ClassVar[dict[str, str]] = {
        "train_f1_micro": "train F1",
        "val_map": "val mAP",
        "val_f1_micro": "val F1",
    }
    activation: ClassVar[str] = "sigmoid"

    @property
    def several(self) -> bool:
        return True

    def score_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy in nats over images and classes.

        Label smoothing s moves every target by half of it towards 1/2: 0 becomes s / 2, and 1 becomes 1 - s / 2.
        `class_weights` multiply the loss of a class where it is present. Or the focal loss.
        """
        soft = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.focal:
            return sigmoid_focal(scores.float(), soft, self.class_weights)
        return F.binary_cross_entropy_with_logits(scores.float(), soft, pos_weight=self.class_weights)

    def distillation_loss(self, outputs: Tensor | ModelOutput, teacher: Tensor, temperature: float) -> Tensor:
        return sigmoid_distillation(main_scores(outputs).float(), teacher, temperature)

    def loss_weights(self, dataset: Dataset) -> np.ndarray:
        return class_balance.positive_weights(dataset.train.labels)

    def soft_targets(self, targets: Tensor) -> Tensor:
        return targets.float()

    def counts(self, outputs: Tensor | ModelOutput, targets: Tensor) -> Tensor:
        """(classes, 3): true positives, false positives, false negatives at THRESHOLD."""
        from torchmetrics.functional.classification import multilabel_stat_scores

        predicted = (self.class_probabilities(main_scores(outputs)) > THRESHOLD).long()
        found = multilabel_stat_scores(predicted, targets.long(), self.outputs, average="none", validate_args=False)
        return found.view(self.outputs, -1)[:, [0, 1, 3]]

    def train_metrics(self, counts: Tensor) -> dict[str, float]:
        """F1 at THRESHOLD: f1_macro, the mean over the classes with images, and f1_micro, over all counts."""
        hits, wrong, missed = counts.double().unbind(1)
        each = 2 * hits / (2 * hits + wrong + missed)
        all_counts = 2 * hits.sum() + wrong.sum() + missed.sum()
        macro = each[hits + missed > 0].mean() if (hits + missed).any() else torch.zeros(())
        micro = 2 * hits.sum() / all_counts if all_counts else torch.zeros(())
        return {"f1_macro": macro.item(), "f1_micro": micro.item()}

    def metrics(self) -> Metrics:
        """Loss in nats, map, f1_macro and f1_micro: see `train_metrics` and `TagMetrics`."""
        from skipway.tasks.tag.metrics import TagMetrics

        return TagMetrics(self.unweighted())

    def summary(self, metrics: Mapping[str, Any]) -> str:
        return f"mAP {100 * metrics['map']:.2f} %, macro F1 {100 * metrics['f1_macro']:.2f} %"

    def chosen_on_val(self, metrics: Mapping[str, Any]) -> "Tag":
        return replace(self, thresholds=thresholds_in(metrics, self.classes))

    @property
    def decoding(self) -> dict[str, Any]:
        return {KEY: list(self.thresholds)} if self.thresholds else {}

    @property
    def presenter(self) -> Presenter:
        from skipway.tasks.tag.present import TagPresenter

        return TagPresenter() if self.thresholds else super().presenter

    def pool(self, scores: Tensor) -> Tensor:
        return mean_sigmoid(scores)

    def class_probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes), each in [0, 1] independently; scores are divided by `temperature` (Guo 2017)."""
        return (scores.float() / temperature).sigmoid()
