"""What the server asks of a trained network, and the bundle that gives it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.deploy.predictor import Predictor
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks.gradcam import grad_cam


class Answerer(Protocol):
    """From encoded images to scores. Everything may be called from several threads; `scores` from `depth` at a time."""

    card: Card
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    batch: int  # images that `scores` takes at once, at most
    depth: int  # calls of `scores` at a time that keep it busy

    def open(self, content: bytes, name: str) -> Tensor:
        """An encoded image as uint8 (C, size, size). Raises DataError naming it."""

    def scores(self, images: Tensor) -> Tensor:
        """uint8 (n, C, size, size) -> (n, classes) float32 on the CPU."""

    def probabilities(self, scores: Tensor) -> Tensor:
        """(n, classes) -> (n, classes) in [0, 1], calibrated where the bundle is."""

    def heat(self, image: Tensor, target: int) -> np.ndarray:
        """uint8 (C, size, size) and a class's index -> float (size, size) in [0, 1]: what speaks for it."""


class FromBundle:
    """The Answerer of a bundle, by `Predictor` and one of its engines."""

    def __init__(self, folder: Path, hardware: Hardware, engine: str, say: Callable[[str], None]) -> None:
        predictor = Predictor(folder, hardware, engine, say=say)
        if predictor.preprocessing.channels not in (1, 3):
            raise SkipwayError(
                f"{folder} takes images of {predictor.preprocessing.channels} channels, and only photographs (1 or 3) "
                "can be served: use `skipway predict`"
            )
        self.predictor = predictor
        self.card = predictor.card
        self.classes = tuple(predictor.task.classes)
        self.preprocessing = predictor.preprocessing
        self.batch = predictor.engine.batch
        self.depth = predictor.engine.depth
        self.one = threading.Lock()  # explaining looks at what the network's layers give, one image at a time

    def open(self, content: bytes, name: str) -> Tensor:
        return self.preprocessing.open(content, name)

    def scores(self, images: Tensor) -> Tensor:
        return self.predictor.engine.scores(images)

    def probabilities(self, scores: Tensor) -> Tensor:
        return self.predictor.task.probabilities(scores, self.card.temperature)

    def heat(self, image: Tensor, target: int) -> np.ndarray:
        device = self.predictor.hardware.device
        images = self.preprocessing.normalised(image.unsqueeze(0).to(device))
        with self.one:
            return grad_cam(self.predictor.net, images, torch.tensor([target], device=device))[0].numpy()
