"""The held-out loss of a generator, batch by batch."""

from collections.abc import Sequence
from typing import Any, Self

from skipway.tasks.base import Outputs


class MeanVelocityLoss:
    """The mean over images of the mean squared error of the velocity."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, outputs: Outputs, targets: Any) -> None:
        """outputs: the loss of each image, (N,)."""
        self.total += float(outputs[0].double().sum())
        self.count += len(outputs[0])

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.total, self.count = self.total + other.total, self.count + other.count

    def compute(self) -> dict[str, float]:
        return {"velocity_loss": self.total / self.count} if self.count else {}
