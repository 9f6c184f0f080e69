"""The classes that a network predicts for an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from skipway.errors import DataError
from skipway.tasks.presenter import Prediction

THRESHOLD = 0.5  # of a class's probability, above which it is predicted, as is customary


@dataclass(frozen=True, repr=False)
class ClassPrediction(Prediction):
    """(class, probability) in order of decreasing probability, or why the image could not be read.

    unsure: whether the probability of the first is below the threshold that was asked for; out_of_distribution: whether
    the image is unlike those of the training. Both None where no threshold was asked for. predicted: the classes above
    their own thresholds, the most likely first; None where the network has none.
    """

    classes: tuple[tuple[str, float], ...] = ()
    unsure: bool | None = None
    out_of_distribution: bool | None = None
    predicted: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The most likely class. Raises DataError, saying why, for an image that was not read."""
        return self.first[0]

    @property
    def probability(self) -> float:
        """The probability of `label`, from 0 to 1. Raises DataError as `label` does."""
        return self.first[1]

    @property
    def first(self) -> tuple[str, float]:
        """The most likely class and its probability. Raises DataError for an image that was not read."""
        if not self.classes:
            raise DataError(self.error or f"{self.name} has no prediction")
        return self.classes[0]

    def __repr__(self) -> str:
        text = f"{self.label!r}, {self.probability:.4f}" if self.classes else f"error={self.error!r}"
        return f"Prediction({self.name!r}, {text})"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        rows = [(name, f"{100 * share:.2f} %") for name, share in self.classes]
        marks = [("", "unsure")] if self.unsure else []
        return notebook.prediction(self.name, self.error, [*rows, *marks])


def above(classes: Sequence[str], probabilities: Sequence[float], thresholds: Sequence[float]) -> tuple[str, ...]:
    """The classes whose probability is above their own threshold, the most likely first."""
    found = [i for i, (share, least) in enumerate(zip(probabilities, thresholds, strict=True)) if share > least]
    return tuple(classes[i] for i in sorted(found, key=lambda i: -probabilities[i]))
