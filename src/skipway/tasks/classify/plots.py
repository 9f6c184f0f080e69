"""The confusion matrix and the reliability diagram, as inline SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skipway.reporting.svg import legible, percents, quieten, svg
from skipway.tasks.classify.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTED, NAMED, DRAWN = 20, 40, 200  # at most this many classes: counts in cells, names on axes, any plot


def confusion_map(confusion: np.ndarray, classes: Sequence[str]) -> str | None:
    """The matrix (classes, classes), rows the true classes, as SVG; a cell's colour is its share of the row.

    Up to 20 classes have counts in the cells, up to 40 names on the axes; None above 200.
    """
    count = len(classes)
    if count > DRAWN:
        return None
    side = 3.2 + 0.19 * min(count, 24) if count <= NAMED else 5.6
    correct, n = int(np.trace(confusion)), int(confusion.sum())
    description = f"Confusion matrix of {count} classes: {correct:,} of {n:,} images on the diagonal."
    return svg(lambda figure: draw_map(figure, confusion, classes), (side + 0.5, side), "confusion", description)


def draw_map(figure: "Figure", confusion: np.ndarray, classes: Sequence[str]) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    totals = confusion.sum(1, keepdims=True)
    shares = np.ma.masked_invalid(np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan))
    colours, norm = colormaps["Blues"].resampled(64), PowerNorm(0.5, 0, 1)  # the root shows rare mistakes too
    axes = figure.subplots()
    axes.set_facecolor("#efefef")  # rows without an image
    image = axes.imshow(shares, cmap=colours, norm=norm, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted" if len(classes) <= NAMED else "predicted (class number)")
    axes.set_ylabel("true" if len(classes) <= NAMED else "true (class number)")
    if len(classes) <= NAMED:
        name_axes(axes, classes)
    if len(classes) <= COUNTED:
        for row, column in np.argwhere(confusion):
            ink = "#ffffff" if norm(shares[row, column]) > 0.55 else "#1c1f23"
            axes.text(column, row, f"{confusion[row, column]:,}", ha="center", va="center", color=ink, fontsize=8)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.05, 0.25, 0.5, 1])
        bar.ax.set_yticklabels(["0", "1 %", "5 %", "25 %", "50 %", "100 %"])
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")


def name_axes(axes: "Axes", classes: Sequence[str]) -> None:
    """Class names at every row and column, long ones shortened in the middle; `$` does not start a formula."""
    names = [name if len(name) <= 18 else f"{name[:11]}…{name[-6:]}" for name in map(legible, classes)]
    upright = max(map(len, names)) <= 3
    axes.set_xticks(range(len(names)), names, parse_math=False, rotation=0 if upright else 90)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) > COUNTED:
        axes.tick_params(labelsize=7)


def reliability_diagram(bins: Reliability, key: str, several: bool) -> str:
    """Confidence against the share of correct predictions, above a histogram of the confidence, as SVG.

    `key` makes the ids of a page's diagrams unique; `several`: the bins are of labels and not of images.
    """
    confidence, truth = ("predicted probability", "had the label") if several else ("confidence", "correct")
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
        below.set_ylabel("predictions (%)")
        below.set_xlabel(f"{confidence} (%)")
        above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 4.2), key, description)
