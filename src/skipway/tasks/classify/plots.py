"""The confusion matrix and the reliability diagram of classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skipway.reporting import confusion as matrices
from skipway.reporting import reliability
from skipway.reporting.reliability import Reliability
from skipway.reporting.svg import percents, quieten, svg
from skipway.tasks.classify.selective import OperatingPoint, RiskCoverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_map(confusion: np.ndarray, classes: Sequence[str]) -> str | None:
    """Images by class and predicted class, (classes, classes), as SVG; None for too many classes to draw."""
    correct, n = int(np.trace(confusion)), int(confusion.sum())
    description = f"Confusion matrix of {len(classes)} classes: {correct:,} of {n:,} images on the diagonal."
    return matrices.confusion_map(confusion, classes, description)


def risk_coverage_curve(risk: RiskCoverage, points: Sequence[OperatingPoint]) -> str:
    """Error by coverage, with the `points` that were chosen on val, as SVG."""
    description = (
        f"Error by coverage: {100 * risk.error[-1]:.2f} % of all answers are wrong; area under the curve "
        f"{100 * risk.aurc:.2f} %."
    )

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot(risk.coverage, risk.error, color="#0072B2", linewidth=1.6, label="measured here")
        if points:
            coverages, errors = [point.coverage for point in points], [point.error for point in points]
            axes.plot(coverages, errors, "s", color="#D55E00", markersize=4, label="bound of thresholds, on val")
        quieten(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        percents(axes.xaxis)
        percents(axes.yaxis)
        axes.set_xlabel("coverage (%)")
        axes.set_ylabel("error of answers (%)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 3.0), "risk", description)


def reliability_diagram(bins: Reliability, key: str, several: bool) -> str:
    """The diagram of `bins` as SVG; `several`: they are of labels and not of images."""
    words = ("predicted probability", "had the label") if several else ("confidence", "correct")
    return reliability.reliability_diagram(bins, key, *words)
