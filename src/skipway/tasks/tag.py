"""Tagging (multi-label classification): any number of the classes for each image, none too; each is judged alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.models.contract import Judged
from skipway.tasks.auxiliary import over_classifiers

THRESHOLD = 0.5  # of a class's probability, above which it is said; the field's custom


@dataclass(frozen=True)
class Tag:
    """`classes` are the names in the order of the network's outputs."""

    name: ClassVar[str] = "tag"
    headline: ClassVar[str] = "map"
    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """How many numbers the network's head must give."""
        return len(self.classes)

    def loss(
        self, scores: Tensor | Judged, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
    ) -> Tensor:
        """Mean binary cross-entropy in nats over images and classes. scores, targets: (N, classes), targets in [0, 1].

        `smoothing` moves every target by half of it towards even odds: 0 becomes s / 2, and 1 becomes 1 - s / 2.
        `weights` (classes,) multiply what a class costs where it is present. For auxiliary classifiers: `auxiliary`.
        """
        soft = targets.float() * (1 - smoothing) + smoothing / 2

        def of(one: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(one.float(), soft, pos_weight=weights)

        return over_classifiers(of, scores)

    def probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes) -> (N, classes), each in [0, 1] by itself; scores are divided by `temperature` (Guo 2017)."""
        return (scores.float() / temperature).sigmoid()

    def tally(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(classes, 3): true positives, false positives, false negatives at THRESHOLD. Tallies of batches add up."""
        from torchmetrics.functional.classification import multilabel_stat_scores

        said = (self.probabilities(scores) > THRESHOLD).long()
        counts = multilabel_stat_scores(said, targets.long(), self.outputs, average="none", validate_args=False)
        return counts.view(self.outputs, -1)[:, [0, 1, 3]]

    def read(self, tally: Tensor) -> dict[str, float]:
        """F1 at THRESHOLD: f1_macro, the mean over the classes that some image has, and f1_micro, of all counts."""
        hits, wrong, missed = tally.double().unbind(1)
        each = 2 * hits / (2 * hits + wrong + missed)
        all_counts = 2 * hits.sum() + wrong.sum() + missed.sum()
        macro = each[hits + missed > 0].mean() if (hits + missed).any() else torch.zeros(())
        micro = 2 * hits.sum() / all_counts if all_counts else torch.zeros(())
        return {"f1_macro": macro.item(), "f1_micro": micro.item()}

    def meter(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss in nats, map, f1_macro and f1_micro (see `read`); scores and targets (N, classes).

        map: the mean over the classes that some image has of scikit-learn's average precision, the area under the
        steps of precision over recall, without interpolation. It is taken of the scores, whose ranks a rounded
        probability near 1 would lose. 0 where no image has a class.
        """
        from sklearn.metrics import average_precision_score

        present = targets.bool().any(0)
        precision = 0.0
        if present.any():
            precision = average_precision_score(targets[:, present].numpy(), scores[:, present].float().numpy())
        loss = self.loss(scores, targets).item()
        return {"loss": loss, "map": float(precision), **self.read(self.tally(scores, targets))}
