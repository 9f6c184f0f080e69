"""The classes of an image from the outputs of an export."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.classify.present import ClassPresenter
from skipway.tasks.export_reader import Arrays


@dataclass(frozen=True)
class ClassReader:
    """Of one class an image, and of any number."""

    classes: tuple[str, ...]
    needed: ClassVar[tuple[str, ...]] = ("probabilities",)

    @property
    def presenter(self) -> ClassPresenter:
        return ClassPresenter()

    def predict(
        self, name: str, outputs: Arrays, size: tuple[int, int], top: int, threshold: float | None
    ) -> ClassPrediction:
        """The `top` classes with their probabilities, the most likely first."""
        found = outputs["probabilities"]
        order = np.argsort(-found, kind="stable")[:top]
        return ClassPrediction(
            name, "", tuple((self.classes[i], p) for i, p in zip(order, found[order].tolist(), strict=True))
        )

    def unread(self, name: str, error: str) -> ClassPrediction:
        return ClassPrediction(name, error)
