"""Semantic segmentation: loss, metrics and predictions of networks that give every pixel a class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skipway import models
from skipway.data.dataset import Dataset
from skipway.data.loader import Batch, Transform
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Targets
from skipway.errors import refuse_if
from skipway.models.base import ModelOutput
from skipway.tasks.base import (
    Evaluation,
    LossResult,
    Outputs,
    Parity,
    Presenter,
    Reporter,
    SplitOutputs,
    Stitcher,
)
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.dense import DenseTask
from skipway.tasks.segment.label_maps import label_map, statistics
from skipway.tasks.segment.losses import CRITERIA, Criterion, median_frequency_weights
from skipway.tasks.segment.metrics import SegmentMetrics
from skipway.tasks.segment.parity import compare
from skipway.tasks.segment.prediction import SegmentPrediction
from skipway.tasks.segment.stitcher import LabelMapStitcher
from skipway.tasks.segment.transform import LabelMapTransform

SMALLEST = 64  # pixels of the input's longer side: the last map of a residual body then has more than one
AUXILIARY = 0.4  # weight of the auxiliary head's loss (Zhao 2017, arXiv:1612.01105, sec. 3.3)


@dataclass(frozen=True)
class Segment(DenseTask):
    """A class of `classes` for every pixel. preprocessing: of the images, once it is known; criterion: the name of the
    loss; weights: of the classes in it."""

    name: ClassVar[str] = "segment"
    metric: ClassVar[str] = "miou"
    pipeline_tag: ClassVar[str] = "image-segmentation"
    annotation: ClassVar[str] = "label maps"
    figure_names: ClassVar[dict[str, str]] = {
        "train_pixel_accuracy": "train pixels",
        "val_miou": "val mIoU",
        "val_pixel_accuracy": "val pixels",
    }
    output_note: ClassVar[str] = (
        "Scores are those of each class for each pixel of the input; the class of a pixel is that of the highest. "
    )
    multiple: ClassVar[int] = 8
    smallest: ClassVar[int] = SMALLEST
    on_gpu: ClassVar[int] = 768
    on_cpu: ClassVar[int] = 480
    criteria: ClassVar[tuple[str, ...]] = tuple(CRITERIA)
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None = None
    criterion: str = "cross-entropy"
    weights: Tensor | None = None

    # construction

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> Self:
        return cls(tuple(classes))

    def configured(
        self, network: Mapping[str, Any], preprocessing: Preprocessing, calibration: Mapping[str, Any] | None
    ) -> Self:
        return replace(self, preprocessing=preprocessing)

    @property
    def head(self) -> dict[str, Any]:
        return {"name": "segmenter", "outputs": self.outputs}

    def require_network(self, name: str) -> None:
        models.require_segmenter(name)

    def network_on(self, body: str, gpu: bool) -> str:
        """A segmenter itself; on a classifier U-Net, with its light decoder for a processor."""
        if models.is_segmenter(body):
            return body
        return f"unet_{body}" if gpu else f"unet_{body}_light"

    def recipe_name(self, weights: str | None, side: int = 0) -> str:
        return "segment-scratch" if weights is None else "segment"

    # training

    def transform(self, preprocessing: Preprocessing, options: Mapping[str, Any]) -> Transform:
        height, width = preprocessing.canvas
        side = options["crop_size"] or max(height, width)
        crop = min(side, height), min(side, width)
        return LabelMapTransform(preprocessing, options["crop"] == "scale", options["flip"], crop)

    def for_training(self, dataset: Dataset, options: Mapping[str, Any], device: torch.device) -> Self:
        """Raises SkipwayError for settings of a recipe that label maps do not allow."""
        refuse_if(options["fit"] == "crop", "--fit crop leaves pixels without a class", "give --fit pad or squash")
        refuse_if(options["label_smoothing"], "--label-smoothing is not for label maps", "leave it out")
        refuse_if(options["small_epochs"], "--small-epochs is not for label maps", "give --crop-size")
        for name in ("size", "crop_size"):
            small, option = 0 < options[name] < SMALLEST, f"--{name.replace('_', '-')}"
            refuse_if(small, f"{option} {options[name]} is too small for label maps", f"give at least {SMALLEST}")
        refuse_if(options["mixup"] or options["cutmix"], "mixup and CutMix are not for label maps", "leave them out")
        refuse_if(
            options["crop"] not in ("none", "scale"),
            f"--crop {options['crop']} does not move label maps",
            "give scale or none",
        )
        refuse_if(
            options["balance"] == "sampler", "--balance sampler is for one class an image", "give weights or none"
        )
        weights = None
        if options["balance"] == "weights":
            targets = targets_in(dataset)
            counts = targets.pixels[:, : self.outputs].astype(np.float64)
            beside = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)
            weights = median_frequency_weights(torch.from_numpy(counts.sum(0)), torch.from_numpy(beside)).to(device)
        return replace(self, criterion=options["criterion"] or self.criterion, weights=weights)

    def describe(self, dataset: Dataset, options: Mapping[str, Any]) -> str:
        pixels = targets_in(dataset).pixels.sum(0)
        ignored = f", {100 * pixels[-1] / max(pixels.sum(), 1):.1f} % of pixels ignored" if pixels[-1] else ""
        return f"segment ({self.annotation} of {self.outputs} classes{ignored})"

    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        """The criterion, and with an auxiliary head AUXILIARY times its own."""
        assert isinstance(batch.targets, Tensor)
        outputs, labels, criterion = forward(batch.images), batch.targets.long(), self.loss_function
        if not isinstance(outputs, ModelOutput):
            return LossResult({"loss": criterion(outputs.float(), labels, self.weights)}, outputs)
        main = criterion(outputs.scores.float(), labels, self.weights)
        beside = [criterion(scores.float(), labels, self.weights) for scores in outputs.auxiliary]
        auxiliary = torch.stack(beside).sum()
        return LossResult({"loss": main + AUXILIARY * auxiliary, "main": main, "auxiliary": auxiliary}, outputs)

    @property
    def loss_function(self) -> Criterion:
        return CRITERIA[self.criterion]

    def counts(self, outputs: Any, targets: Any) -> Tensor:
        """(2,): the pixels whose class is predicted, and all that have one."""
        scores = outputs.scores if isinstance(outputs, ModelOutput) else outputs
        valid = targets != IGNORE
        return torch.stack([((scores.argmax(1) == targets) & valid).sum(), valid.sum()])

    def train_metrics(self, counts: Tensor) -> dict[str, float]:
        correct, total = counts.tolist()
        return {"pixel_accuracy": correct / max(total, 1)}

    # evaluation

    @property
    def fitted(self) -> Preprocessing:
        """The preprocessing of a configured task."""
        assert self.preprocessing is not None
        return self.preprocessing

    def metrics(self) -> SegmentMetrics:
        return SegmentMetrics(self.fitted, self.outputs)

    def summarise(self, outputs: Outputs, targets: Targets) -> Outputs:
        """The statistics of each image (`ImageStatistics`)."""
        assert isinstance(targets, MaskTargets)
        return statistics(outputs, targets.tensor(), self.fitted)

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Evaluation:
        from skipway.tasks.segment.evaluation import measure

        return measure(scored, self.fitted)

    def summary(self, metrics: Mapping[str, Any]) -> str:
        low, high = metrics["miou_interval"]
        shown = f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
        return f"mIoU {100 * metrics['miou']:.1f} % {shown}, pixel accuracy {100 * metrics['pixel_accuracy']:.1f} %"

    # prediction

    def predict(
        self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int
    ) -> SegmentPrediction:
        """The class of each pixel of the image, whatever `top` is."""
        labels = label_map(outputs[0], self.fitted, size).numpy()
        return SegmentPrediction(name, labels=labels, classes=self.classes, size=size)

    def stitcher(self, size: tuple[int, int]) -> Stitcher:
        return LabelMapStitcher(self.classes, size)

    def unread(self, name: str, error: str) -> SegmentPrediction:
        return SegmentPrediction(name, error)

    def parity(self, expected: Outputs, found: Outputs, precision: str) -> Parity:
        return compare(expected, found, precision)

    # presentation

    @property
    def presenter(self) -> Presenter:
        from skipway.tasks.segment.present import SegmentPresenter

        return SegmentPresenter()

    @property
    def reporter(self) -> Reporter:
        from skipway.tasks.segment.reporter import SegmentReporter

        return SegmentReporter()


def targets_in(dataset: Dataset) -> MaskTargets:
    """The label maps of the training images."""
    assert isinstance(dataset.train.targets, MaskTargets)
    return dataset.train.targets
