"""Classification: one of the classes for each image. Its loss, its predictions, and its score."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.models.contract import Judged
from skipway.tasks.auxiliary import over_classifiers


@dataclass(frozen=True)
class Classify:
    """`classes` are the names in the order of the network's outputs."""

    name: ClassVar[str] = "classify"
    headline: ClassVar[str] = "top1"
    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """How many numbers the network's head must give."""
        return len(self.classes)

    def loss(
        self, scores: Tensor | Judged, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy in nats. scores (N, classes); targets (N,) or, when mixed, (N, classes) of weights.

        `weights` (classes,) multiply what each class costs. The sum is divided by the number of images, not by their
        weights as torch's mean is: an image then weighs the same in any batch. For auxiliary classifiers: `auxiliary`.
        """

        def of(one: Tensor) -> Tensor:
            total = F.cross_entropy(one.float(), targets, weights, label_smoothing=smoothing, reduction="sum")
            return total / len(one)

        return over_classifiers(of, scores)

    def probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes) -> (N, classes), summing to 1; scores are divided by `temperature` (Guo 2017)."""
        return (scores.float() / temperature).softmax(1)

    def tally(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(2,): how many images were right, and how many there were. Tallies of batches add up."""
        right = (scores.argmax(1) == targets).sum()
        return torch.stack([right, torch.full_like(right, len(targets))])

    def read(self, tally: Tensor) -> dict[str, float]:
        """Top-1 accuracy in [0, 1]."""
        right, count = tally.tolist()
        return {"top1": right / count}

    def meter(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss in nats, top-1 accuracy in [0, 1] over all rows, and top-5 of more than five classes: of fewer, it
        would be 1 whatever the scores."""
        from torchmetrics.functional.classification import multiclass_accuracy  # a second, not owed by who predicts

        top = {f"top{k}": k for k in (1, 5) if k == 1 or self.outputs > k}
        return {"loss": self.loss(scores, targets).item()} | {
            name: multiclass_accuracy(scores, targets, self.outputs, average="micro", top_k=k).item()
            for name, k in top.items()
        }
