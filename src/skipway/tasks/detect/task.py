"""Object detection: loss, decoding and metrics of networks that find boxes, with or without masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from skipway import models
from skipway.data.box_targets import Boxes, BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.loader import Batch, Transform
from skipway.data.preprocess import Preprocessing
from skipway.errors import refuse_if
from skipway.models.base import Network
from skipway.models.detection.base import Detector, Objects
from skipway.tasks.base import (
    Evaluation,
    LossResult,
    Outputs,
    Parity,
    Presenter,
    Reporter,
    SplitOutputs,
    Stitcher,
    Task,
)
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.dense import DenseTask
from skipway.tasks.detect.detected import MOST, SHOWN
from skipway.tasks.detect.detections import Decoder
from skipway.tasks.detect.metrics import DetectMetrics
from skipway.tasks.detect.mosaic import Mosaic
from skipway.tasks.detect.prediction import ObjectPrediction, objects_of
from skipway.tasks.detect.stitcher import ObjectStitcher
from skipway.tasks.detect.transform import BoxTransform, MaskedBoxes

MULTIPLE = 32  # pixels: the coarsest stride of a residual body, of which the input's sides are multiples


@dataclass(frozen=True)
class Detect(DenseTask):
    """Boxes of `classes`. network: its name; preprocessing: of the images, once it is known; threshold: the score from
    which objects are predicted; suppressed: whether non-maximum suppression is behind the network already."""

    name: ClassVar[str] = "detect"
    metric: ClassVar[str] = "ap"
    pipeline_tag: ClassVar[str] = "object-detection"
    annotation: ClassVar[str] = "boxes with classes"
    figure_names: ClassVar[dict[str, str]] = {"val_ap": "val AP", "val_ap50": "val AP50"}
    calibrates: ClassVar[str] = "threshold"
    combines_images: ClassVar[bool] = True
    multiple: ClassVar[int] = MULTIPLE
    smallest: ClassVar[int] = MULTIPLE
    on_gpu: ClassVar[int] = 640
    on_cpu: ClassVar[int] = 320
    classes: tuple[str, ...]
    network: str = ""
    preprocessing: Preprocessing | None = None
    threshold: float = SHOWN
    suppressed: bool = False

    # construction

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> Self:
        return cls(tuple(classes))

    def configured(
        self, network: Mapping[str, Any], preprocessing: Preprocessing, calibration: Mapping[str, Any] | None
    ) -> Self:
        threshold = (calibration or {}).get("threshold", SHOWN)
        return replace(self, network=network["name"], preprocessing=preprocessing, threshold=threshold)

    @property
    def output_names(self) -> tuple[str, ...]:  # type: ignore[override]
        masks = ("masks",) if models.has_masks(self.network) else ()
        return ("boxes", "scores", "labels", *masks)

    @property
    def output_note(self) -> str:  # type: ignore[override]
        which = "only the best is meant (non-maximum suppression, as `skipway predict` does). "
        if self.suppressed:
            iou = models.nms_threshold(self.network)
            which = f"only the best is left (non-maximum suppression from an IoU of {iou:g}); a score of 0 is no box. "
        return (
            "Boxes are left, top, right and bottom in pixels of the input, the best first; labels are classes. Of "
            f"boxes of a class that overlap, {which}"
        )

    @property
    def head(self) -> dict[str, Any]:
        return {"name": "detector", "outputs": self.outputs}

    def require_network(self, name: str) -> None:
        models.require_detector(name)

    def network_on(self, body: str, gpu: bool) -> str:
        """A detector itself; on a classifier FCOS, with its light head for a processor."""
        if models.is_detector(body):
            return body
        return f"fcos_{body}" if gpu else f"fcos_{body}_light"

    def recipe_name(self, weights: str | None, side: int = 0) -> str:
        if weights is None:
            return "detect-scratch"
        return "detect-finetune" if models.is_detector(weights) else "detect"

    def trunk(self, net: Network) -> nn.Module:
        return net.get_submodule("backbone")

    # training

    def transform(self, preprocessing: Preprocessing, options: Mapping[str, Any]) -> Transform:
        masks = models.has_masks(options["model"])
        alone = BoxTransform(preprocessing, options["crop"] == "scale", options["flip"], masks)
        return Mosaic(alone, options["mosaic"]) if options["mosaic"] else alone

    def for_training(self, dataset: Dataset, options: Mapping[str, Any], device: torch.device) -> Self:
        """Raises SkipwayError for settings of a recipe that boxes do not allow."""
        assert isinstance(dataset.train.targets, BoxTargets)
        refuse_if(options["fit"] == "crop", "--fit crop cuts objects off", "give --fit pad or squash")
        refuse_if(options["mixup"] or options["cutmix"], "mixup and CutMix mix classes, not boxes", "leave them out")
        refuse_if(
            options["crop"] not in ("none", "scale"),
            f"--crop {options['crop']} does not move boxes",
            "give scale or none",
        )
        refuse_if(
            options["mosaic"] and options["crop"] != "scale",
            "--mosaic draws scale and place of each image",
            "give --crop scale, or leave it out",
        )
        unmasked = models.has_masks(options["model"]) and dataset.train.targets.masks is None
        refuse_if(
            unmasked, f"{options['model']} learns masks, and {dataset.name} has only boxes", "give another --model"
        )
        refuse_if(options["balance"] != "none", "--balance is for one class an image", "leave it out")
        return self

    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        """The sum of the network's losses."""
        targets = batch.targets
        assert isinstance(targets, Boxes | MaskedBoxes)
        masks = targets.masks if isinstance(targets, MaskedBoxes) else None
        losses = forward(batch.images, Objects(targets.boxes, targets.labels, masks))
        return LossResult({"loss": torch.stack(list(losses.values())).sum(), **losses}, None)

    # evaluation

    @property
    def decoder(self) -> Decoder:
        """From outputs to detections in pixels of the original images."""
        assert self.preprocessing is not None
        return Decoder(self.preprocessing, models.nms_threshold(self.network))

    def metrics(self) -> DetectMetrics:
        return DetectMetrics(self.decoder, self.classes)

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Evaluation:
        from skipway.tasks.detect.evaluation import measure  # faster-coco-eval, which prediction does not need

        return measure(self.decoder, scored, calibration)

    def calibrate(self, scored: SplitOutputs) -> dict[str, Any] | None:
        from skipway.tasks.detect.evaluation import calibrate

        return calibrate(self.decoder, scored)

    def summary(self, metrics: Mapping[str, Any]) -> str:
        low, high = metrics["ap_interval"]
        shown = f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), AP50 {100 * metrics['ap50']:.1f}"
        masks = f"; mask AP {100 * metrics['mask_ap']:.1f}" if "mask_ap" in metrics else ""
        return f"box AP {100 * metrics['ap']:.1f} {shown}{masks}"

    # prediction

    @property
    def decoding(self) -> dict[str, Any]:
        return {"nms": 1.0 if self.suppressed else models.nms_threshold(self.network)}

    def predict(
        self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int
    ) -> ObjectPrediction:
        """The objects with a score of at least the threshold; all of them, whatever `top` is."""
        found = self.decoder(outputs, size).above(self.threshold)
        return ObjectPrediction(name, objects=objects_of(found, self.classes, size), size=size)

    def stitcher(self, size: tuple[int, int]) -> Stitcher:
        return ObjectStitcher(self.decoder, self.classes, self.threshold, size)

    def with_threshold(self, threshold: float | None) -> Self:
        return self if threshold is None else replace(self, threshold=threshold)

    def with_suppression(self, net: Network) -> tuple[Task, nn.Module]:
        refuse_if(models.suppresses(self.network), f"{self.network} suppresses overlapping boxes", "leave out --nms")
        assert isinstance(net, Detector)
        from skipway.models.detection.suppression import Suppressed  # here, since it imports torchvision

        return replace(self, suppressed=True), Suppressed(net, MOST)

    def unread(self, name: str, error: str) -> ObjectPrediction:
        return ObjectPrediction(name, error)

    def parity(self, expected: Outputs, found: Outputs, precision: str) -> Parity:
        from skipway.tasks.detect.parity import compare

        # boxes that were suppressed already are taken as they are, since a second time would hide those that were not
        reader = replace(self.decoder, nms=1.0) if self.suppressed else self.decoder
        return compare(self.decoder, expected, reader, found, precision)

    # presentation

    @property
    def presenter(self) -> Presenter:
        from skipway.tasks.detect.present import DetectPresenter

        return DetectPresenter()

    @property
    def reporter(self) -> Reporter:
        from skipway.tasks.detect.reporter import DetectReporter

        return DetectReporter()
