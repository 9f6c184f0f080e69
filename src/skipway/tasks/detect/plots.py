"""Figures of a report on detection."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skipway.reporting import confusion
from skipway.reporting.svg import legible, quieten, svg
from skipway.tasks.detect.coco import RECALL
from skipway.tasks.detect.drawing import COLOURS
from skipway.tasks.detect.matching import ScoreCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 7  # classes with a curve of their own: as many as there are colours
DASHES = ("-", "--", "-.", ":")


def precision_recall(curves: np.ndarray, classes: Sequence[str], shown: Sequence[int]) -> str:
    """Precision by recall at overlap 0.5, (101, classes), of the classes `shown`, and the mean of all, as SVG."""
    held = (curves >= 0).all(0)
    described = ", ".join(f"{legible(classes[i])} {100 * curves[:, i].mean():.1f}" for i in shown)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for rank, i in enumerate(shown):
            colour, dash = COLOURS[i % len(COLOURS)], DASHES[rank % len(DASHES)]  # in the colours of the pictures
            axes.plot(RECALL, curves[:, i], dash, color=colour, linewidth=1.6, label=legible(classes[i]))
        if held.sum() > 1:
            axes.plot(RECALL, curves[:, held].mean(1), color="#3d444d", linewidth=2.4, label="mean of the classes")
        quieten(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        for text in axes.legend(loc="lower left", frameon=False, fontsize=8).get_texts():
            text.set_parse_math(False)

    return svg(draw, (4.7, 3.6), "precision", f"Precision by recall at overlap 0.5; average precision: {described}.")


def by_threshold(curve: ScoreCurve, threshold: float) -> str:
    """Precision, recall and F1 by the threshold of the score, as SVG."""
    best, f1 = curve.best()

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        lines = {"precision": ("#0072B2", "-"), "recall": ("#D55E00", "--"), "f1": ("#3d444d", "-")}
        for name, (colour, dash) in lines.items():
            label = "F1" if name == "f1" else name
            axes.plot(curve.thresholds, getattr(curve, name), dash, color=colour, linewidth=1.6, label=label)
        axes.axvline(threshold, color="#8a9099", linewidth=1)
        axes.text(threshold, 1.03, f"{threshold:.2f}", ha="center", va="bottom", fontsize=8)
        quieten(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("threshold of the score")
        axes.legend(loc="lower left", frameon=False)

    described = f"Precision, recall and F1 by the threshold; the best F1 is {f1:.3f} at {best:.2f}."
    return svg(draw, (4.7, 3.6), "threshold", described)


def confusion_map(matrix: np.ndarray, classes: Sequence[str]) -> str | None:
    """Objects by class and predicted class, the background last, as SVG; None for too many classes to name."""
    if len(classes) >= confusion.NAMED:
        return None
    count, right = len(classes), int(np.trace(matrix))
    described = f"Confusion matrix of {count} classes and the background: {right:,} objects right."
    return confusion.confusion_map(matrix, [*classes, "background"], described)
