"""The COCO protocol, by faster-coco-eval: average precision over overlaps from 0.5 to 0.95.

Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick: Microsoft COCO: Common Objects in Context. ECCV 2014,
arXiv:1405.0312; the twelve figures as on cocodataset.org, "Detection evaluation".
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from skipway.data.box_targets import BoxTargets
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.masks import paste_masks

Kind = Literal["bbox", "segm"]
FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALLS = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
AT50 = 0  # the overlap 0.5 among the thresholds
RECALL = np.linspace(0, 1, 101)  # at which precision is given


@dataclass(frozen=True)
class CocoResult:
    """figures: FIGURES and RECALLS by name, -1 where there is no object; per_class: (classes, 2), average precision
    and that at overlap 0.5, -1 for classes without objects; curves: (101, classes), precision at RECALL at overlap 0.5.
    """

    figures: dict[str, float]
    per_class: np.ndarray
    curves: np.ndarray


def truth_of(targets: BoxTargets, classes: Sequence[str], kind: Kind) -> COCO:
    """The annotations as COCO's class; images and categories are numbered from 1."""
    image_of = np.repeat(np.arange(len(targets)), targets.counted)
    annotations = []
    for row, (left, top, right, bottom) in enumerate(targets.boxes.tolist()):
        annotation: dict[str, Any] = {
            "id": row + 1,
            "image_id": int(image_of[row]) + 1,
            "category_id": int(targets.labels[row]) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": float(targets.areas[row]),
            "iscrowd": int(targets.crowd[row]),
        }
        mask = targets.masks[row] if targets.masks is not None else None
        if kind == "segm":
            if mask is None:
                continue
            annotation["segmentation"] = mask
        annotations.append(annotation)
    images = [{"id": i + 1, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(targets.sizes.tolist())]
    return dataset_of(images, annotations, classes)


def dataset_of(images: list[dict], annotations: list[dict], classes: Sequence[str]) -> COCO:
    found = COCO()
    found.dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
    }
    found.createIndex()
    return found


def results_of(found: Sequence[Detected], sizes: np.ndarray, kind: Kind = "bbox") -> list[dict[str, Any]]:
    """The detections of each image in COCO's result format, images and categories numbered from 1."""
    rows = []
    for place, one in enumerate(found):
        masks = paste_masks(one, tuple(sizes[place])) if kind == "segm" else None
        for i, (left, top, right, bottom) in enumerate(one.boxes.tolist()):
            row: dict[str, Any] = {
                "image_id": place + 1,
                "category_id": int(one.labels[i]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "score": float(one.scores[i]),
            }
            if masks is not None:
                row["segmentation"] = masks[i]
            rows.append(row)
    return rows


def evaluate(targets: BoxTargets, found: Sequence[Detected], classes: Sequence[str], kind: Kind = "bbox") -> CocoResult:
    """The figures of `found`, the detections of each image of `targets`."""
    return evaluate_results(
        truth_of(targets, classes, kind), results_of(found, targets.sizes, kind), len(classes), kind
    )


def evaluate_results(truth: COCO, results: list[dict[str, Any]], classes: int, kind: Kind) -> CocoResult:
    """Likewise for results in COCO's format. `classes`: the number of categories."""
    with contextlib.redirect_stdout(io.StringIO()):
        images, categories = truth.dataset["images"], [one["name"] for one in truth.dataset["categories"]]
        detected = truth.loadRes(results) if results else dataset_of(images, [], categories)
        evaluator = COCOeval_faster(truth, detected, kind, print_function=lambda *_: None)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision = evaluator.eval["precision"].reshape(10, 101, classes, 4, 3)[:, :, :, 0, -1]  # all sizes, 100 detections
    per_class = np.stack([mean_of(precision), mean_of(precision[AT50 : AT50 + 1])], 1)
    stats = dict(zip((*FIGURES, *RECALLS), map(float, evaluator.stats[:12]), strict=True))
    return CocoResult(stats, per_class, precision[AT50])


def mean_of(precision: np.ndarray) -> np.ndarray:
    """(classes,) mean of (overlaps, recalls, classes); -1 for classes without objects."""
    return np.where((precision < 0).all((0, 1)), -1.0, precision.mean((0, 1)))
