"""The interface of tasks with a score for each class."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from skipway.tasks.base import Metrics


class ScoresTask(Protocol):
    """A task whose network gives a score for each class.

    several: whether an image may have any number of classes; thresholds: of their probabilities, empty: THRESHOLD.
    """

    @property
    def several(self) -> bool: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> int: ...

    @property
    def thresholds(self) -> tuple[float, ...]: ...

    def score_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats of scores (N, classes)."""

    def class_probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, classes) in [0, 1]."""

    def metrics(self) -> Metrics:
        """An accumulator of the task's figures."""

    def summary(self, metrics: Mapping[str, Any]) -> str:
        """The main figure as text."""

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Counts that add up over batches."""

    def train_metrics(self, counts: Tensor) -> dict[str, float]:
        """The figures of the sum of counts."""
