"""Metrics of multi-label classification, accumulated batch by batch."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skipway.tasks.base import Outputs
from skipway.tasks.classify.metrics import LossMean
from skipway.tasks.classify.protocol import ScoresTask


class TagMetrics:
    """loss in nats; map; f1_macro and f1_micro at THRESHOLD.

    map: the mean over the classes with images of scikit-learn's average precision, the area under the steps of
    precision over recall, without interpolation. It is computed from the scores, because probabilities rounded near 1
    would lose ranks; 0 where no image has a class. Ranking needs every score: all are stored, 4 bytes per class and
    image.
    """

    def __init__(self, task: ScoresTask) -> None:
        self.task, self.loss = task, LossMean()
        self.scores: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Outputs, targets: Tensor) -> None:
        self.loss.update(self.task.score_loss(outputs[0], targets).item(), len(targets))
        self.scores.append(outputs[0].float())
        self.targets.append(targets)

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.loss.parts += other.loss.parts
            self.scores += other.scores
            self.targets += other.targets

    def compute(self) -> dict[str, float]:
        from sklearn.metrics import average_precision_score

        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        present = targets.bool().any(0)
        precision = 0.0
        if present.any():
            precision = average_precision_score(targets[:, present].numpy(), scores[:, present].numpy())
        f1 = self.task.train_metrics(self.task.counts(scores, targets))
        return {"loss": self.loss.compute(), "map": float(precision), **f1}
