"""An export over HTTP: the server of `skipway serve` with a network that needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from skipway.deploy.serve.decode_process import Pixels
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.model_backend import Outputs, PredictOptions
from skipway.deploy.serve.server import Settings
from skipway.deploy.serve.service import Service
from skipway.errors import SkipwayError
from skipway.runtime.network import ExportedNetwork, require_export
from skipway.runtime.preprocess import FittedPixels

BATCH = 8  # images at a time, as of the engines of `skipway serve`


class ExportBackend:
    """The ModelBackend of an export."""

    modules: tuple[str, ...] = ("skipway.deploy.serve.decode_tasks", "skipway.runtime.preprocess")
    depth, explains = 1, False

    def __init__(self, network: ExportedNetwork) -> None:
        self.network, self.card, self.preprocessing = network, network.card, network.preprocessing
        if self.preprocessing.channels not in (1, 3):
            raise SkipwayError(
                f"{network.folder} takes images of {self.preprocessing.channels} channels, and only photographs (1 or "
                "3) can be served: use `skipway-runtime predict`"
            )
        self.classes = tuple(network.card.classes)
        self.batch = 1 if network.single else BATCH

    def begin_thread(self) -> None:
        """Nothing is prepared."""

    def open(self, content: bytes, name: str) -> FittedPixels:
        return self.preprocessing.opened(content, name)

    def fitted(self, pixels: Pixels) -> FittedPixels:
        return FittedPixels(pixels.values, pixels.size)

    def blank(self) -> np.ndarray:
        return np.zeros((self.preprocessing.channels, *self.preprocessing.canvas), dtype=np.uint8)

    def stacked(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(images)

    def outputs(self, images: np.ndarray) -> Outputs:
        """In the order of what the reader needs."""
        rows = self.network.outputs(images)
        return tuple(np.stack([row[name] for row in rows]) for name in self.network.reader.needed)

    def row(self, outputs: Outputs | None, size: tuple[int, int], options: PredictOptions) -> dict[str, Any]:
        reader = self.network.reader
        if outputs is None:
            return reader.presenter.row(None)
        named = dict(zip(reader.needed, outputs, strict=True))
        return reader.presenter.row(reader.predict("", named, size, options.top, options.threshold))

    def schema(self) -> dict[str, Any]:
        return self.network.reader.presenter.schema()

    def target(self, outputs: Outputs) -> int:
        return int(outputs[0].argmax())

    def heat(self, image: Any, target: int) -> np.ndarray:
        raise NotImplementedError("an export has no gradients")


@dataclass(frozen=True)
class ExportSettings(Settings):
    """`Settings` of a server of the export in `folder`."""

    preloaded: ClassVar[tuple[str, ...]] = (
        "skipway.runtime.serving",
        "skipway.deploy.serve.app",
        "uvicorn.protocols.http.h11_impl",
    )

    def require(self) -> None:
        require_export(self.folder)

    def service(self) -> Service:
        backend = ExportBackend(ExportedNetwork.load(Path(self.folder), self.threads))
        return Service(backend, self.limits, Metrics(), self.decoders, self.eager)
