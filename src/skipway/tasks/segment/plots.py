"""Figures of a report on segmentation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skipway.reporting import confusion
from skipway.reporting.reliability import Reliability, reliability_diagram
from skipway.reporting.svg import percents, quieten, svg
from skipway.tasks.segment.confusion import pixel_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = 20  # of the histogram, from 0 to 1


def confusion_map(matrix: np.ndarray, classes: Sequence[str]) -> str | None:
    """Pixels by class and predicted class in shares of the true class, as SVG; None for too many classes to draw."""
    share = 100 * pixel_accuracy(matrix)
    description = f"Confusion matrix of {len(classes)} classes: {share:.1f} % of the pixels on the diagonal."
    return confusion.confusion_map(matrix, classes, description, cells="shares")


def reliability_of(bins: np.ndarray) -> Reliability:
    """The bins of evaluation, (bins, 3) of pixels, sums of confidence and correct pixels, as means."""
    count, confidence, correct = bins.T
    filled = np.maximum(count, 1)
    return Reliability(count, confidence / filled, correct / filled)


def reliability(bins: np.ndarray) -> str:
    """The reliability diagram of the pixels in `bins` (bins, 3), as SVG."""
    return reliability_diagram(reliability_of(bins), "reliability", counted="pixels")


def image_histogram(values: np.ndarray, overall: float) -> str:
    """How many images have which mean IoU, (n,), as SVG, with a line at that of all images together."""
    counts, edges = np.histogram(values, BARS, (0, 1))

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        axes.bar(edges[:-1], counts, 0.92 / BARS, align="edge", color="#9ecae1")
        axes.axvline(overall, color="#D55E00", linewidth=1.4)
        axes.text(
            overall, 1.02, f"all: {100 * overall:.1f}", ha="center", va="bottom", transform=axes.get_xaxis_transform()
        )
        quieten(axes)
        axes.set_xlim(0, 1)
        percents(axes.xaxis)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.set_xlabel("mean IoU of an image (%)")
        axes.set_ylabel("images")

    low, middle, high = 100 * np.quantile(values, [0.1, 0.5, 0.9])
    described = f"Images by their mean IoU: median {middle:.1f} %, one tenth below {low:.1f} %, one above {high:.1f} %."
    return svg(draw, (4.7, 4.2), "images", described)
