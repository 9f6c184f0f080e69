"""The classes of an image's pixels, as predicted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skipway.tasks.presenter import Prediction


@dataclass(frozen=True, repr=False, eq=False)
class SegmentPrediction(Prediction):
    """labels: uint8 (H, W), the class of each pixel of the original image, or None if it could not be read; classes:
    their names; size: the image's height and width."""

    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)

    @cached_property
    def pixels(self) -> np.ndarray:
        """int64 (classes,): pixels of each class."""
        labels = np.empty(0, dtype=np.uint8) if self.labels is None else self.labels
        return np.bincount(labels.ravel(), minlength=len(self.classes))

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of the image's pixels of each class that is present, the largest first."""
        total = max(int(self.pixels.sum()), 1)
        order = np.argsort(-self.pixels, kind="stable")
        return {self.classes[i]: float(self.pixels[i] / total) for i in order if self.pixels[i]}

    def __repr__(self) -> str:
        if self.error:
            return f"Prediction({self.name!r}, error={self.error!r})"
        shown = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(self.shares.items())[:3])
        return f"Prediction({self.name!r}, {shown})"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook
        from skipway.reporting.palette import palette

        rows = [(name, f"{100 * share:.1f} %") for name, share in self.shares.items()]
        colours = palette(len(self.classes))
        return notebook.prediction(self.name, self.error, rows, self.size, labels=self.labels, colours=colours)
