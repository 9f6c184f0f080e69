"""The `ModelBackend` of a bundle."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipway.data.preprocess import FittedImage
from skipway.deploy.predict.pipeline import compute_alone
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.serve.decode_process import Pixels
from skipway.deploy.serve.model_backend import ModelBackend as ModelBackend
from skipway.deploy.serve.model_backend import PredictOptions
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks.base import Outputs


class BundleBackend:
    """The ModelBackend of a bundle, by `Predictor` and one of its engines."""

    modules: tuple[str, ...] = ("skipway.deploy.serve.decode_tasks", "skipway.deploy.serve.heatmap")

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

    def begin_thread(self) -> None:
        compute_alone()

    def open(self, content: bytes, name: str) -> FittedImage:
        return self.preprocessing.opened(content, name)

    def fitted(self, pixels: Pixels) -> FittedImage:
        return FittedImage(torch.from_numpy(pixels.values), pixels.size)

    def blank(self) -> Tensor:
        return torch.zeros(self.preprocessing.channels, *self.preprocessing.canvas, dtype=torch.uint8)

    def stacked(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images))

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
