"""The interface between the server and a trained network, and its implementation by a bundle."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from skipway.bundle import Card
from skipway.data.preprocess import FittedImage, Preprocessing
from skipway.deploy.predict.predictor import Predictor
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks.base import Outputs


class PredictOptions(NamedTuple):
    """What a request asks for. top: classes of an image; threshold: the least score of an object, None: the card's."""

    top: int = 5
    threshold: float | None = None


class ModelBackend(Protocol):
    """From encoded images to predictions. Everything may be called from several threads, `outputs` from `depth` at a
    time."""

    card: Card
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    batch: int  # images that `outputs` takes at once, at most
    depth: int  # calls of `outputs` at a time that keep it busy

    def open(self, content: bytes, name: str) -> FittedImage:
        """An encoded image as the network's input. Raises DataError naming it."""

    def outputs(self, images: Tensor) -> Outputs:
        """uint8 (n, C, *canvas) -> the network's outputs (n, ...), float32 on the CPU."""

    def row(self, outputs: Outputs | None, size: tuple[int, int], options: PredictOptions) -> dict[str, Any]:
        """The fields of the answer for one image of `size` (height, width) pixels, by its outputs without the first
        dimension; empty ones for None."""

    def schema(self) -> dict[str, Any]:
        """These fields for `pydantic.create_model`."""

    def target(self, outputs: Outputs) -> int:
        """The class that is explained when none is named: the most likely."""

    @property
    def explains(self) -> bool:
        """Whether `heat` has something to show."""

    def heat(self, image: Tensor, target: int) -> np.ndarray:
        """uint8 (C, size, size) and a class's index -> float (size, size) in [0, 1]: what speaks for it."""


class BundleBackend:
    """The ModelBackend of a bundle, by `Predictor` and one of its engines."""

    def __init__(self, folder: Path, hardware: Hardware, engine: str, say: Callable[[str], None]) -> None:
        predictor = Predictor(folder, hardware, engine, say=say)
        if predictor.preprocessing.channels not in (1, 3):
            raise SkipwayError(
                f"{folder} takes images of {predictor.preprocessing.channels} channels, and only photographs (1 or 3) "
                "can be served: use `skipway predict`"
            )
        self.predictor = predictor
        self.present = predictor.task.presenter
        self.explain = predictor.task.explainer(predictor.net, predictor.preprocessing, predictor.hardware.device)
        self.card = predictor.card
        self.classes = tuple(predictor.task.classes)
        self.preprocessing = predictor.preprocessing
        self.batch = predictor.engine.batch
        self.depth = predictor.engine.depth
        self.one = threading.Lock()  # explaining looks at what the network's layers give, one image at a time

    def open(self, content: bytes, name: str) -> FittedImage:
        return self.preprocessing.opened(content, name)

    def outputs(self, images: Tensor) -> Outputs:
        return self.predictor.engine.outputs(images)

    def row(self, outputs: Outputs | None, size: tuple[int, int], options: PredictOptions) -> dict[str, Any]:
        if outputs is None:
            return self.present.row(None)
        task = self.predictor.task.with_threshold(options.threshold)
        return self.present.row(task.predict("", outputs, size, self.card.temperature, options.top))

    def schema(self) -> dict[str, Any]:
        return self.present.schema()

    def target(self, outputs: Outputs) -> int:
        return int(outputs[0].argmax())

    @property
    def explains(self) -> bool:
        return self.explain is not None

    def heat(self, image: Tensor, target: int) -> np.ndarray:
        assert self.explain is not None
        with self.one:
            return self.explain(image.unsqueeze(0), torch.tensor([target]))[0].numpy()
