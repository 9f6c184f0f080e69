"""The classes of an image from the outputs of an export with a threshold for each class."""

from dataclasses import dataclass, replace

from skipway.tasks.classify.exported import ClassReader
from skipway.tasks.classify.prediction import ClassPrediction, above
from skipway.tasks.export_reader import Arrays
from skipway.tasks.tag.present import TagPresenter


@dataclass(frozen=True)
class TagReader(ClassReader):
    """thresholds: of each class's probability."""

    thresholds: tuple[float, ...] = ()

    @property
    def presenter(self) -> TagPresenter:
        return TagPresenter()

    def predict(
        self, name: str, outputs: Arrays, size: tuple[int, int], top: int, threshold: float | None
    ) -> ClassPrediction:
        """The `top` classes, and those that are predicted."""
        predicted = above(self.classes, outputs["probabilities"].tolist(), self.thresholds)
        return replace(super().predict(name, outputs, size, top, threshold), predicted=predicted)
