"""Reports of evaluations of segmentation: classes, confusions, calibration, images, comparisons."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skipway.reporting import html
from skipway.reporting.class_rows import numbered, worst_first
from skipway.reporting.confusion import DRAWN, NAMED, confused_pairs
from skipway.reporting.html import plain
from skipway.reporting.numbers import interval, percent
from skipway.tasks.base import Comparison, Finding, Records, ReportContext, Reporter
from skipway.tasks.segment import plots
from skipway.tasks.segment.compare_runs import compare
from skipway.tasks.segment.confusion import class_iou
from skipway.tasks.segment.diagnosis import constant_miou, diagnose
from skipway.tasks.segment.drawing import UNCOUNTED, WRONG
from skipway.tasks.segment.evaluation import SegmentEvaluation
from skipway.tasks.segment.gallery import as_hex, gallery, wrong_share

CONFUSIONS, ROWS = 10, 25  # rows of tables: of confused pairs, and of classes before the rest is folded


class SegmentReporter(Reporter):
    """For a class of each pixel."""

    def figures(self, evaluation: SegmentEvaluation) -> list[tuple[str, str, str]]:
        m = evaluation.metrics
        ends = f"95\u00a0% interval {interval(m['miou_interval'])}, {m['n']:,}\u00a0images"
        return [
            ("Mean IoU", percent(m["miou"]), ends),
            ("Pixel accuracy", percent(m["pixel_accuracy"]), f"of {m['pixels']:,} pixels"),
            ("Mean accuracy", percent(m["mean_accuracy"]), "mean over the classes"),
            ("Boundary F", percent(m["boundary_f"]), "mean over the classes"),
            ("Calibration error", percent(m["ece"]), "of the pixels"),
        ]

    def result(self, evaluation: SegmentEvaluation) -> str:
        m = evaluation.metrics
        low, high = (100 * end for end in m["miou_interval"])
        return (
            f"{evaluation.scored.split} mean IoU {100 * m['miou']:.2f} % (95 % interval {low:.2f} to {high:.2f}), "
            f"pixel accuracy {100 * m['pixel_accuracy']:.2f} %, mean accuracy {100 * m['mean_accuracy']:.2f} %, "
            f"boundary F {100 * m['boundary_f']:.2f} %, {m['n']:,} images\ncalibration error {100 * m['ece']:.2f} %"
        )

    def findings(self, evaluation: SegmentEvaluation, context: ReportContext) -> list[Finding]:
        return diagnose(evaluation, context)

    def baseline(self, evaluation: SegmentEvaluation) -> str:
        if not evaluation.metrics["pixels"]:
            return ""
        _, miou, share = constant_miou(evaluation)
        return (
            f"Always predicting the most frequent class would give a mean IoU of {percent(miou)} and a pixel accuracy "
            f"of {percent(share)}."
        )

    def curves(self) -> dict[str, tuple[str, str, float]]:
        return {
            "loss": ("Loss", "", 1),
            "miou": ("Mean IoU", "%", 100),
            "pixel_accuracy": ("Pixel accuracy", "%", 100),
        }

    def about_training(self, evaluation: SegmentEvaluation, records: Records) -> str:
        return "The loss of the training includes that of an auxiliary classifier where the network has one."

    def sections(self, evaluation: SegmentEvaluation, context: ReportContext) -> str:
        classes, matrix = evaluation.classes, evaluation.confusion
        rows = numbered(evaluation.per_class) if len(classes) > NAMED else evaluation.per_class
        bins = evaluation.images.calibration.sum(0)
        return html.render(
            "sections.html",
            "skipway.tasks.segment",
            evaluation=evaluation,
            per_class=worst_first(rows, "iou"),
            rows=ROWS,
            confusion=html.optional(plots.confusion_map(matrix, classes)),
            confusions=confused_pairs(matrix, classes)[:CONFUSIONS],
            named=NAMED,
            drawn=DRAWN,
            reliability=html.optional(plots.reliability(bins) if bins[:, 0].any() else None),
            histogram=html.optional(plots.image_histogram(evaluation.image_miou, evaluation.metrics["miou"])),
            gallery=gallery(evaluation, context.preprocessing),
            wrong_colour=as_hex(WRONG),
            ignored_colour=as_hex(UNCOUNTED),
        )

    def details(self, evaluation: SegmentEvaluation, context: ReportContext) -> dict[str, Any]:
        """per_class; confusion: pixels, rows the true classes; calibration: the bins of the pixels."""
        bins = plots.reliability_of(evaluation.images.calibration.sum(0))
        return {
            "per_class": [plain(row) for row in evaluation.per_class],
            "confusion": {"classes": list(evaluation.classes), "matrix": evaluation.confusion.tolist()},
            "calibration": {"fitted": context.card.calibration, "bins": bins.to_json()},
        }

    def predictions(self, evaluation: SegmentEvaluation) -> list[dict[str, Any]]:
        """For each image in order: name, miou, pixel_accuracy, and iou of each class that occurs or is predicted in
        it. Shares of 1."""
        classes = evaluation.classes
        ious = class_iou(evaluation.images.confusion)
        return [
            {
                "name": name,
                "miou": float(evaluation.image_miou[place]),
                "pixel_accuracy": 1 - wrong_share(evaluation, place),
                "iou": {classes[i]: float(ious[place, i]) for i in np.flatnonzero(~np.isnan(ious[place]))},
            }
            for place, name in enumerate(evaluation.names)
        ]

    def compare(self, runs: Sequence[str], evaluations: Sequence[SegmentEvaluation], command: str) -> Comparison:
        return compare(runs, evaluations, command)
