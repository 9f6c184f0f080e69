"""Reports of evaluations of detection: COCO's figures, curves, confusions, errors by kind, classes, images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skipway.reporting import html
from skipway.reporting.class_rows import worst_first
from skipway.reporting.html import plain
from skipway.tasks.base import Comparison, Finding, Records, ReportContext, Reporter
from skipway.tasks.causes import causes
from skipway.tasks.detect import plots
from skipway.tasks.detect.coco import FIGURES, RECALLS
from skipway.tasks.detect.compare_runs import compare
from skipway.tasks.detect.evaluation import DetectEvaluation
from skipway.tasks.detect.gallery import gallery
from skipway.tasks.detect.matching import KINDS

ROWS = 25  # classes before the rest is folded
USELESS = 0.01  # AP50 up to which a network has learnt nothing
FEW_STEPS = 1000
CHECK = "boxes may be wrong: `skipway check DATA --preview FILE` draws them"
LABELS = {
    "ap": ("AP", "overlap 0.5 to 0.95"),
    "ap50": ("AP50", "overlap 0.5"),
    "ap75": ("AP75", "overlap 0.75"),
    "ap_small": ("AP small", "area below 32² pixels"),
    "ap_medium": ("AP medium", "32² to 96²"),
    "ap_large": ("AP large", "above 96²"),
    "ar1": ("AR 1", "recall with one box an image"),
    "ar10": ("AR 10", "with 10"),
    "ar100": ("AR 100", "with 100"),
    "ar_small": ("AR small", ""),
    "ar_medium": ("AR medium", ""),
    "ar_large": ("AR large", ""),
}


class DetectReporter(Reporter):
    """For boxes, with or without masks."""

    def figures(self, evaluation: DetectEvaluation) -> list[tuple[str, str, str]]:
        m = evaluation.metrics
        low, high = m["ap_interval"]
        rows = [
            (
                "Box AP",
                points(m["ap"]),
                f"95\u00a0% interval {100 * low:.1f} to {100 * high:.1f}, {m['n']:,}\u00a0images",
            ),
            ("AP50", points(m["ap50"]), "at overlap 0.5"),
            ("AP75", points(m["ap75"]), "at overlap 0.75"),
            ("F1", points(m["f1"]), f"precision {points(m['precision'])}, recall {points(m['recall'])}"),
            ("Threshold", f"{evaluation.threshold:.2f}", about_threshold(evaluation)),
        ]
        if "mask_ap" in m:
            rows.insert(1, ("Mask AP", points(m["mask_ap"]), f"AP50 {points(m['mask_ap50'])}"))
        return rows

    def result(self, evaluation: DetectEvaluation) -> str:
        m, split = evaluation.metrics, evaluation.scored.split
        low, high = m["ap_interval"]
        masks = f", mask AP {points(m['mask_ap'])}" if "mask_ap" in m else ""
        return (
            f"{split} box AP {points(m['ap'])} (95 % interval {100 * low:.1f} to {100 * high:.1f}), AP50 "
            f"{points(m['ap50'])}{masks}, {m['n']:,} images; at threshold {evaluation.threshold:.2f} precision "
            f"{points(m['precision'])}, recall {points(m['recall'])}"
        )

    def findings(self, evaluation: DetectEvaluation, context: ReportContext) -> list[Finding]:
        m = evaluation.metrics
        if m["objects"] and m["ap50"] <= USELESS:
            detail = f"AP50 is {points(m['ap50'])} on {m['n']:,} images with {m['objects']:,} objects"
            return [Finding("error", "The network finds nothing", detail, causes(context, FEW_STEPS, CHECK))]
        missed = [row["class"] for row in evaluation.per_class if row["ap50"] is not None and row["ap50"] <= USELESS]
        if not missed:
            return []
        named = ", ".join(missed[:3]) + (f" and {len(missed) - 3} more" if len(missed) > 3 else "")
        advice = (
            "these classes have few or small objects: `skipway check` shows both; annotate more, or raise --size",
        )
        return [Finding("warning", "Some classes are never found", f"AP50 is 0 for {named}", advice)]

    def baseline(self, evaluation: DetectEvaluation) -> str:
        return f"Evaluated by the COCO protocol (faster-coco-eval), {evaluation.metrics['objects']:,} objects."

    def curves(self) -> dict[str, tuple[str, str, float]]:
        return {"loss": ("Loss", "", 1), "ap": ("Box AP", "", 100), "ap50": ("AP50", "", 100)}

    def about_training(self, evaluation: DetectEvaluation, records: Records) -> str:
        return "The loss is the sum of the network's losses."

    def sections(self, evaluation: DetectEvaluation, context: ReportContext) -> str:
        classes = evaluation.classes
        frequent = np.argsort(-np.bincount(evaluation.targets.labels, minlength=len(classes)), kind="stable")
        shown = [int(i) for i in frequent if (evaluation.boxes.curves[:, i] >= 0).all()][: plots.DRAWN]
        return html.render(
            "sections.html",
            "skipway.tasks.detect",
            evaluation=evaluation,
            twelve=[(name, *LABELS[name], figure(evaluation, name)) for name in (*FIGURES, *RECALLS)],
            curves=html.optional(plots.precision_recall(evaluation.boxes.curves, classes, shown)),
            thresholds=html.optional(plots.by_threshold(evaluation.curve, evaluation.threshold)),
            about_threshold=about_threshold(evaluation),
            confusion=html.optional(plots.confusion_map(evaluation.confusion, classes)),
            kinds=list(zip(KINDS.items(), evaluation.kinds.sum(0).tolist(), strict=True)),
            per_class=worst_first(evaluation.per_class, "ap"),
            rows=ROWS,
            points=points,
            gallery=gallery(evaluation, context.preprocessing),
            wrong=int((evaluation.kinds.sum(1) > 0).sum()),
            masks=evaluation.masks is not None,
        )

    def details(self, evaluation: DetectEvaluation, context: ReportContext) -> dict[str, Any]:
        """per_class; confusion: rows the true classes, the background last; errors: by kind; precision_recall: of each
        class at overlap 0.5 at 101 recalls, null without objects; calibration: the card's."""
        curves = evaluation.boxes.curves
        return {
            "protocol_of_metrics": "COCO, faster-coco-eval",
            "per_class": [plain(row) for row in evaluation.per_class],
            "confusion": {"classes": [*evaluation.classes, "background"], "matrix": evaluation.confusion.tolist()},
            "errors": dict(zip(KINDS, evaluation.kinds.sum(0).tolist(), strict=True)),
            "precision_recall": {
                name: curves[:, i].tolist() if (curves[:, i] >= 0).all() else None
                for i, name in enumerate(evaluation.classes)
            },
            "calibration": {"fitted": context.card.calibration},
        }

    def predictions(self, evaluation: DetectEvaluation) -> list[dict[str, Any]]:
        """For each image in order: name, and every detection as [class, score, left, top, right, bottom]."""
        return [
            {
                "name": name,
                "objects": [
                    [evaluation.classes[label], score, *box]
                    for label, score, box in zip(
                        one.labels.tolist(), one.scores.tolist(), one.boxes.round(2).tolist(), strict=True
                    )
                ],
            }
            for name, one in zip(evaluation.names, evaluation.found, strict=True)
        ]

    def compare(self, runs: Sequence[str], evaluations: Sequence[DetectEvaluation], command: str) -> Comparison:
        return compare(runs, evaluations, command)


def points(share: float | None) -> str:
    """A figure of COCO's protocol in points; a dash where there is no object."""
    return "–" if share is None or share < 0 else f"{100 * share:.1f}"


def figure(evaluation: DetectEvaluation, name: str) -> tuple[str, str]:
    """A figure of the boxes, and of the masks ("" without)."""
    masks = evaluation.masks
    return points(evaluation.boxes.figures[name]), points(masks.figures[name]) if masks else ""


def about_threshold(evaluation: DetectEvaluation) -> str:
    """Where the threshold comes from."""
    return "best F1 on these images" if evaluation.fitted_here else "best F1 on val"
