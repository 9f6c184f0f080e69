"""Reliability of probabilities in bins (Guo 2017, arXiv:1706.04599), and its diagram as inline SVG."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skipway.reporting.svg import percents, quieten, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins of equal width by confidence: count, mean confidence, and share correct, each (bins,).

    An empty bin has confidence and share 0.
    """

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap of confidence and share correct, weighted by count (sec. 2)."""
        return float((self.count * np.abs(self.confidence - self.correct)).sum() / self.count.sum())

    def to_json(self) -> dict[str, list[float]]:
        return {"count": self.count.tolist(), "confidence": self.confidence.tolist(), "right": self.correct.tolist()}


def reliability_diagram(
    bins: Reliability, key: str, confidence: str = "confidence", truth: str = "correct", counted: str = "predictions"
) -> str:
    """Confidence against the share of correct predictions, above a histogram of the confidence, as SVG.

    `key` makes the ids of a page's diagrams unique; confidence, truth, counted: words for the axes.
    """
    description = (
        f"Reliability diagram: {confidence} against the share that was {truth}, in {len(bins.count)} bins; "
        f"expected calibration error {100 * bins.ece:.2f} %."
    )

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, sharex=True, height_ratios=(5, 1.3))
        filled, edges = bins.count > 0, np.linspace(0, 1, len(bins.count) + 1)[:-1]
        width = 1 / len(bins.count)
        above.plot([0, 1], [0, 1], "--", color="#6b727b", linewidth=1, label="perfect calibration")
        above.bar(edges, bins.correct, width * 0.92, align="edge", color="#9ecae1")
        means, shares = bins.confidence[filled], bins.correct[filled]
        above.vlines(means, means, shares, color="#D55E00", linewidth=1.4)
        above.plot(means, shares, "o", color="#0072B2", markersize=4, label="measured")
        below.bar(edges, bins.count / bins.count.sum(), width * 0.92, align="edge", color="#8a9099")
        for axes in (above, below):
            quieten(axes)
            axes.set_xlim(0, 1)
            percents(axes.xaxis)
            percents(axes.yaxis)
        above.set_ylim(0, 1)
        above.set_ylabel(f"{truth} (%)")
        below.set_ylabel(f"{counted} (%)")
        below.set_xlabel(f"{confidence} (%)")
        above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 4.2), key, description)
