"""Reports of evaluations of classes: calibration, confusions, classes, images, comparisons."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from skipway.reporting import html
from skipway.reporting.class_rows import numbered, worst_first
from skipway.reporting.confusion import DRAWN, NAMED, confused_pairs
from skipway.reporting.html import plain
from skipway.reporting.numbers import percent
from skipway.reporting.svg import measured
from skipway.tasks.base import Comparison, Finding, Records, ReportContext, Reporter
from skipway.tasks.classify import compare_runs, report_text
from skipway.tasks.classify.diagnosis import diagnose
from skipway.tasks.classify.error_gallery import gallery
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.classify.plots import confusion_map, reliability_diagram, risk_coverage_curve
from skipway.tasks.classify.selective import OperatingPoint, points_of

CONFUSIONS, ROWS = 10, 25  # rows of tables: of confused pairs, and of classes before the rest is folded


class ClassReporter(Reporter):
    """For one class an image and for any number of classes."""

    def figures(self, evaluation: ClassEvaluation) -> list[tuple[str, str, str]]:
        return report_text.headlines(evaluation)

    def result(self, evaluation: ClassEvaluation) -> str:
        return report_text.result(evaluation)

    def baseline(self, evaluation: ClassEvaluation) -> str:
        return report_text.about_chance(evaluation)

    def findings(self, evaluation: ClassEvaluation, context: ReportContext) -> list[Finding]:
        return diagnose(context.card, context.records, evaluation)

    def curves(self) -> dict[str, tuple[str, str, float]]:
        return {
            "loss": ("Loss", "nats", 1),
            "top1": ("Top-1 accuracy", "%", 100),
            "map": ("Mean average precision", "%", 100),
            "f1_macro": ("Macro F1", "%", 100),
        }

    def about_training(self, evaluation: ClassEvaluation, records: Records) -> str:
        if evaluation.several or measured(records, "train_top1"):
            return ""
        return "Mixup or CutMix was used in training, so there is no accuracy on train."

    def sections(self, evaluation: ClassEvaluation, context: ReportContext) -> str:
        rows = numbered(evaluation.per_class) if len(evaluation.classes) > NAMED else evaluation.per_class
        matrix = evaluation.confusion
        return html.render(
            "sections.html",
            "skipway.tasks.classify",
            evaluation=evaluation,
            gallery=gallery(evaluation, context.preprocessing, context.explain),
            about_calibration=report_text.about_calibration(evaluation, context.card, context.protocol),
            diagrams=diagrams(evaluation),
            risk=None
            if evaluation.risk is None
            else Markup(risk_coverage_curve(evaluation.risk, points_of_val(context))),
            thresholds=thresholds(evaluation, points_of_val(context)),
            about_thresholds=report_text.about_thresholds(evaluation),
            confusion=html.optional(None if matrix is None else confusion_map(matrix, evaluation.classes)),
            drawn=DRAWN,
            named=NAMED,
            confusions=[] if matrix is None else confused_pairs(matrix, evaluation.classes)[:CONFUSIONS],
            per_class=worst_first(rows, "ap" if evaluation.several else "recall"),
            rows=ROWS,
            wrong=int((~evaluation.correct).sum()),
        )

    def details(self, evaluation: ClassEvaluation, context: ReportContext) -> dict[str, Any]:
        """per_class; confusion: rows the true classes, null where images have several labels; unsure: the thresholds
        chosen on val, and what they give here; calibration: the card's,
        with the bins before and after it."""
        matrix, after = evaluation.confusion, evaluation.calibrated
        return {
            "per_class": [plain(row) for row in evaluation.per_class],
            "confusion": None if matrix is None else {"classes": list(evaluation.classes), "matrix": matrix.tolist()},
            "unsure": thresholds(evaluation, points_of_val(context)),
            "calibration": {
                "fitted": context.card.calibration,
                "cross_fitted": evaluation.cross_fitted,
                "bins_uncalibrated": evaluation.uncalibrated.to_json(),
                "bins": None if after is None else after.to_json(),
            },
        }

    def predictions(self, evaluation: ClassEvaluation) -> list[dict[str, Any]]:
        """For each image in order: name, label and predicted as class names, and the predicted class's probability;
        with several labels, lists of names and every class's probability. Probabilities are not rounded."""
        classes, predicted, probabilities = evaluation.classes, evaluation.predicted, evaluation.probabilities
        if evaluation.several:
            names = [
                [[classes[i] for i in np.flatnonzero(row)] for row in rows] for rows in (evaluation.labels, predicted)
            ]
            values: Sequence[Any] = probabilities.tolist()
        else:
            names = [[classes[i] for i in column.tolist()] for column in (evaluation.labels, predicted)]
            values = probabilities[np.arange(len(predicted)), predicted].tolist()
        rows = zip(evaluation.names, *names, values, strict=True)
        key = "probabilities" if evaluation.several else "probability"
        return [{"name": name, "label": true, "predicted": found, key: shown} for name, true, found, shown in rows]

    def compare(self, runs: Sequence[str], evaluations: Sequence[ClassEvaluation], command: str) -> Comparison:
        return compare_runs.compare(runs, evaluations, command)


def points_of_val(context: ReportContext) -> list[OperatingPoint]:
    """The thresholds for unsure answers that were chosen on val, in the card."""
    return points_of(context.card.metrics.get("val", {}))


def thresholds(evaluation: ClassEvaluation, points: Sequence[OperatingPoint]) -> list[dict[str, Any]]:
    """For each threshold its error and coverage on val and on the images evaluated here; error None where none is
    answered."""
    if evaluation.several:
        return []
    confidence, rows = evaluation.probabilities.max(1), []
    for point in points:
        answered = confidence >= point.threshold
        error = float((~evaluation.correct[answered]).mean()) if answered.any() else None
        rows.append({**point.to_json(), "coverage_here": float(answered.mean()), "error_here": error})
    return rows


def diagrams(evaluation: ClassEvaluation) -> list[tuple[str, Markup]]:
    """(caption, figure): reliability of the network's own scores, and with temperature where there is one."""
    several, after = evaluation.several, evaluation.calibrated
    found = [("Without temperature", "uncalibrated", evaluation.uncalibrated)]
    found += [("With temperature", "calibrated", after)] if after is not None else []
    return [
        (f"{caption}: calibration error {percent(part.ece)}", Markup(reliability_diagram(part, key, several)))
        for caption, key, part in found
    ]
