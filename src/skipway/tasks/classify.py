"""Classification: one of the classes for each image. Its loss, its predictions, and its score."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from skipway.models.contract import Judged

AUXILIARY = 0.3


@dataclass(frozen=True)
class Classify:
    """`classes` are the names in the order of the network's outputs."""

    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """How many numbers the network's head must give."""
        return len(self.classes)

    def loss(self, scores: Tensor | Judged, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats. scores (N, classes); targets (N,) or, when mixed, (N, classes) of weights.

        Auxiliary classifiers count AUXILIARY each (Szegedy 2015, arXiv:1409.4842, sec. 5).
        """
        if isinstance(scores, Judged):
            others = [self.loss(other, targets, smoothing) for other in scores.auxiliary]
            return self.loss(scores.scores, targets, smoothing) + AUXILIARY * torch.stack(others).sum()
        return F.cross_entropy(scores.float(), targets, label_smoothing=smoothing)

    def first_loss(self, heads: int) -> float:
        """The loss of even odds from every classifier: ln(classes), and AUXILIARY of it for each after the first."""
        return chance_loss(self.outputs) * (1 + AUXILIARY * (heads - 1))

    def probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes) -> (N, classes), summing to 1; scores are divided by `temperature` (Guo 2017)."""
        return (scores.float() / temperature).softmax(1)

    def meter(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss in nats, top-1 and top-5 accuracy in [0, 1] over all rows; top-5 of fewer classes counts them all."""
        top5 = min(5, self.outputs)
        return {
            "loss": self.loss(scores, targets).item(),
            "top1": multiclass_accuracy(scores, targets, self.outputs, average="micro").item(),
            "top5": multiclass_accuracy(scores, targets, self.outputs, average="micro", top_k=top5).item(),
        }


def chance_loss(classes: int) -> float:
    """ln(classes): the loss of a network that prefers none of them, which a fresh one should start near."""
    return float(torch.tensor(float(classes)).log())
