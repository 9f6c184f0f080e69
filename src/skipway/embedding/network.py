"""A trained network as a source of embeddings: the mean over positions of the last feature map of its classifier.

`Embed` is what engines run instead of the network's own task. It is in no registry, since nothing is trained for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Never

import numpy as np
from torch import Tensor, nn

from skipway.data.loader import Batch
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError, refuse_if
from skipway.models.base import Network
from skipway.models.detection.base import Detector
from skipway.models.segmentation.base import Segmenter
from skipway.tasks.base import (
    LossResult,
    Metrics,
    Outputs,
    Prediction,
    Presenter,
    Reporter,
    SplitOutputs,
    Task,
    WithPreprocessing,
)
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.generate.classifier_features import FeaturesAndScores


class PooledFeatures(nn.Module):
    """The last feature map of `body`, averaged over positions: normalised images (N, C, H, W) -> (N, D)."""

    def __init__(self, body: Network) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body.features(x)[-1].mean((2, 3))


def body_of(net: Network) -> Network:
    """The classification network in `net`: that of a detector or segmenter, or else `net` itself."""
    return net.body if isinstance(net, Detector | Segmenter) else net


@dataclass(frozen=True, eq=False)
class Embedding(Prediction):
    """The embedding of one image, float32 (D,), or why the image could not be read.

    scores: of the network's classes, float32 (classes,); None where they were not asked for.
    """

    vector: np.ndarray | None = None
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class Embed(Task):
    """Embeddings of images. classes: of the network's own task; with_scores: whether it gives their scores too."""

    name: ClassVar[str] = "embed"
    metric: ClassVar[str] = ""
    annotation: ClassVar[str] = "no annotation"
    pools: ClassVar[bool] = False
    classes: tuple[str, ...]
    with_scores: bool = False

    @property
    def output_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of what `deployed` gives."""
        return ("embeddings", "scores") if self.with_scores else ("embeddings",)

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> "Embed":
        return cls(tuple(classes))

    def deployed(self, net: nn.Module, preprocessing: Preprocessing) -> nn.Module:
        """Fitted images uint8 (N, C, *canvas) -> embeddings (N, D), and scores (N, classes) where they are wanted."""
        assert isinstance(net, Network)
        wrapped = FeaturesAndScores(net) if self.with_scores else PooledFeatures(body_of(net))
        return WithPreprocessing(wrapped, preprocessing)

    def predict(self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int) -> Embedding:
        vector, *scores = (output.numpy() for output in outputs)
        return Embedding(name, vector=vector, scores=scores[0] if scores else None)

    def unread(self, name: str, error: str) -> Embedding:
        return Embedding(name, error)

    # what only training and evaluation ask for

    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        refuse_training()

    def metrics(self) -> Metrics:
        refuse_training()

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Never:
        refuse_training()

    def summary(self, metrics: Mapping[str, Any]) -> str:
        refuse_training()

    @property
    def presenter(self) -> Presenter:
        refuse_training()

    @property
    def reporter(self) -> Reporter:
        refuse_training()


def refuse_training() -> Never:
    """Raises SkipwayError."""
    raise SkipwayError("embeddings are neither trained nor evaluated: use the network's own task")


def require_images(task: Task, name: str) -> None:
    """Raises SkipwayError for a network whose inputs are not images, as a generator's."""
    refuse_if(
        task.input_names != ("images",),
        f"{name} is of the task {task.name}, whose network does not take images",
        "give a network that does",
    )
