"""Predictions from the outputs of exports, in NumPy: what a task's `predict` does with tensors, without torch."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from skipway.data.fitting import Fitting
from skipway.errors import BundleError, SkipwayError
from skipway.tasks.detect.detected import SHOWN
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


def classes(task: ExportedTask) -> ExportReader:
    from skipway.tasks.classify.exported import ClassReader

    return ClassReader(task.classes)


def objects(task: ExportedTask) -> ExportReader:
    from skipway.tasks.detect.exported import ObjectReader

    nms = task.decoding.get("nms")
    if type(nms) is not float or not 0 < nms <= 1:
        raise BundleError("it does not say how boxes are suppressed: export it again with this version")
    return ObjectReader(task.classes, task.fitting, nms, float(task.calibration.get("threshold", SHOWN)))


def pixels(task: ExportedTask) -> ExportReader:
    from skipway.tasks.segment.exported import PixelReader

    return PixelReader(task.classes, task.fitting)


READERS: dict[str, Callable[[ExportedTask], ExportReader]] = {
    "classify": classes,
    "tag": classes,
    "detect": objects,
    "segment": pixels,
}


def reader_for(task: ExportedTask) -> ExportReader:
    """Raises SkipwayError for a task that predicts nothing from images, and for one that this version does not have."""
    if task.name == "generate":
        raise SkipwayError(
            "it is a generator's, which predicts nothing: use `skipway generate` with its run"
        )
    if task.name not in READERS:
        raise BundleError(f"the task {task.name} is not one of {', '.join(READERS)}: upgrade skipway-runtime")
    return READERS[task.name](task)
