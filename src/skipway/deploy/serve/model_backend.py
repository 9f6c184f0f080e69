"""The interface between the server and a trained network; images and outputs are the network's own kind of arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from skipway.bundle import Card
from skipway.data.fitting import Fitting
from skipway.deploy.serve.decode_process import Pixels

Outputs = tuple[Any, ...]  # tensors or arrays, the first dimension of which counts images


class Fitted(Protocol):
    """An image as the network's input, uint8 (C, *canvas), and the height and width of what it was made of."""

    @property
    def image(self) -> Any: ...

    @property
    def size(self) -> tuple[int, int]: ...


class PredictOptions(NamedTuple):
    """What a request asks for. top: classes of an image; threshold: the least score of an object, None: the card's."""

    top: int = 5
    threshold: float | None = None


class ModelBackend(Protocol):
    """From encoded images to predictions. Everything may be called from several threads, `outputs` from `depth` at a
    time."""

    card: Card
    classes: tuple[str, ...]
    batch: int  # images that `outputs` takes at once, at most
    depth: int  # calls of `outputs` at a time that keep it busy
    modules: tuple[str, ...]  # that decoding processes import before they are copied

    @property
    def preprocessing(self) -> Fitting:
        """How images become inputs."""

    def begin_thread(self) -> None:
        """Called in each thread that decodes, before its first image."""

    def open(self, content: bytes, name: str) -> Fitted:
        """An encoded image as the network's input. Raises DataError naming it."""

    def fitted(self, pixels: Pixels) -> Fitted:
        """What a decoding process gave, as `open` gives it."""

    def blank(self) -> Any:
        """A black image, as `open` gives it."""

    def stacked(self, images: Sequence[Any]) -> Any:
        """Images, as `open` gives them, as `outputs` takes them."""

    def outputs(self, images: Any) -> Outputs:
        """Images uint8 (n, C, *canvas) -> the network's outputs (n, ...), float32 on the CPU."""

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

    def heat(self, image: Any, target: int) -> np.ndarray:
        """uint8 (C, size, size) and a class's index -> float (size, size) in [0, 1]: what speaks for it."""
