"""Evaluation of detection: COCO's figures, classes, the best threshold, confusions and errors by kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipway.data.box_targets import BoxTargets
from skipway.errors import DataError
from skipway.tasks.base import SplitOutputs
from skipway.tasks.detect.bootstrap import MatchTable, match_table
from skipway.tasks.detect.coco import CocoResult, evaluate
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.detections import Decoder
from skipway.tasks.detect.matching import KINDS, ScoreCurve, confusion, error_kinds, score_curve, truth_at

PROTOCOL = "COCO"


@dataclass(frozen=True, repr=False)
class DetectEvaluation:
    """The results on a split.

    found: each image's detections in its own pixels; boxes, masks: COCO's results, the second None for networks of
    boxes or data without masks; table: the matches behind intervals; curve: precision, recall and F1 by threshold;
    threshold: the card's, or the best on these images where it has none; confusion: (classes + 1, classes + 1) at that
    threshold, the last the background; kinds: (n, kinds) errors of each image there, in the order of KINDS.
    """

    scored: SplitOutputs
    metrics: dict[str, Any]
    found: Sequence[Detected]
    boxes: CocoResult
    masks: CocoResult | None
    table: MatchTable
    curve: ScoreCurve
    threshold: float
    fitted_here: bool
    confusion: np.ndarray
    kinds: np.ndarray

    def __repr__(self) -> str:
        m = self.metrics
        return f"Evaluation({self.scored.data}, {self.scored.split}: AP {100 * m['ap']:.1f}, {m['n']:,} images)"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        figure = f"AP {100 * self.metrics['ap']:.1f}"
        return notebook.evaluation(self.scored.data, self.scored.split, figure, self.metrics)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scored.classes

    @property
    def targets(self) -> BoxTargets:
        return targets_of(self.scored)

    @property
    def names(self) -> Sequence[str]:
        return self.scored.images.names

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """class, images, objects, ap, ap50 of each class; with masks mask_ap too; None where there is no object."""
        targets, rows = self.targets, []
        images, objects = targets.counts(len(self.classes)), np.bincount(targets.labels, minlength=len(self.classes))
        for i, name in enumerate(self.classes):
            row = {"class": name, "images": int(images[i]), "objects": int(objects[i])}
            row |= {key: measured(self.boxes.per_class[i, j]) for j, key in enumerate(("ap", "ap50"))}
            if self.masks is not None:
                row["mask_ap"] = measured(self.masks.per_class[i, 0])
            rows.append(row)
        return rows


def measured(figure: float) -> float | None:
    """COCO's figure; None for -1, which stands for no object."""
    return None if figure < 0 else float(figure)


def targets_of(scored: SplitOutputs) -> BoxTargets:
    """The boxes of the split. Raises DataError for other annotations."""
    if not isinstance(scored.images.targets, BoxTargets):
        raise DataError(f"{scored.data} has no boxes")
    return scored.images.targets


def measure(decoder: Decoder, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> DetectEvaluation:
    """All results on `scored`; the threshold is that of the card's `calibration`."""
    targets, classes = targets_of(scored), scored.classes
    found = decoder.batch(scored.outputs, targets.sizes)
    boxes = evaluate(targets, found, classes)
    masked = targets.masks is not None and any(one.masks is not None for one in found)
    masks = evaluate(targets, found, classes, "segm") if masked else None
    table, curve = match_table(targets, found, len(classes)), score_curve(targets, found)
    threshold = float(calibration["threshold"]) if calibration else curve.best()[0]
    kinds = [list(error_kinds(one.above(threshold), truth_at(targets, i)).values()) for i, one in enumerate(found)]
    metrics: dict[str, Any] = {"n": len(targets), **boxes.figures, "ap_interval": table.interval}
    if masks is not None:
        metrics |= {f"mask_{name}": value for name, value in masks.figures.items()}
    metrics |= at_threshold(curve, threshold) | {"threshold": threshold, "objects": int((~targets.crowd).sum())}
    return DetectEvaluation(
        scored=scored,
        metrics=metrics,
        found=found,
        boxes=boxes,
        masks=masks,
        table=table,
        curve=curve,
        threshold=threshold,
        fitted_here=calibration is None or (scored.trained_on and calibration["split"] == scored.split),
        confusion=confusion(targets, found, len(classes), threshold),
        kinds=np.array(kinds, dtype=np.int64).reshape(-1, len(KINDS)),
    )


def at_threshold(curve: ScoreCurve, threshold: float) -> dict[str, float]:
    """precision, recall and f1 of the detections with a score of at least `threshold`, at overlap 0.5."""
    count = int((curve.thresholds >= threshold).sum())
    if not count:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    return {name: float(getattr(curve, name)[count - 1]) for name in ("precision", "recall", "f1")}


def calibrate(decoder: Decoder, scored: SplitOutputs) -> dict[str, Any] | None:
    """The card's entry for the threshold of the best F1 on `scored`; None where nothing is found."""
    targets = targets_of(scored)
    threshold, f1 = score_curve(targets, decoder.batch(scored.outputs, targets.sizes)).best()
    return {"threshold": threshold, "split": scored.split, "n": len(targets)} if f1 > 0 else None
