"""Predictions from the outputs of exports, in NumPy: what a task's `predict` does with tensors, without torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from skipway.data.fitting import Fitting
from skipway.tasks.presenter import Prediction, Presenter

Arrays = Mapping[str, np.ndarray]  # the outputs of an image by name, without the batch dimension


class ExportReader(Protocol):
    """Reads the outputs of an export. needed: the names of those that it reads."""

    needed: ClassVar[tuple[str, ...]]

    @property
    def presenter(self) -> Presenter: ...

    def predict(
        self, name: str, outputs: Arrays, size: tuple[int, int], top: int, threshold: float | None
    ) -> Prediction:
        """The prediction for the image called `name`, of `size` (height, width) pixels; the `top` likeliest classes, or
        the objects with a score of at least `threshold`, None for the card's."""

    def unread(self, name: str, error: str) -> Prediction:
        """The prediction of an image that could not be read."""


class ExportedTask(NamedTuple):
    """What reading takes. decoding: as `Task.decoding`; fitting: how images become inputs."""

    name: str
    classes: tuple[str, ...]
    calibration: Mapping[str, Any]
    decoding: Mapping[str, Any]
    fitting: Fitting
