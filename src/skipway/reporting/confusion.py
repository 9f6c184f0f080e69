"""Confusion matrices, as inline SVG and as the most frequent confusions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skipway.reporting.svg import legible, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTED, NAMED, DRAWN = 20, 40, 200  # at most this many classes: figures in cells, names on axes, any plot


def confusion_map(
    confusion: np.ndarray, classes: Sequence[str], description: str, cells: Literal["counts", "shares"] = "counts"
) -> str | None:
    """The matrix (classes, classes), rows the true classes, as SVG; a cell's colour is its share of the row.

    Up to 20 classes have figures in the cells, the counts or their shares of the row in per cent, up to 40 names on the
    axes; None above 200.
    """
    count = len(classes)
    if count > DRAWN:
        return None
    side = 3.2 + 0.19 * min(count, 24) if count <= NAMED else 5.6
    return svg(lambda figure: draw_map(figure, confusion, classes, cells), (side + 0.5, side), "confusion", description)


def draw_map(figure: "Figure", confusion: np.ndarray, classes: Sequence[str], cells: str) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    totals = confusion.sum(1, keepdims=True)
    shares = np.ma.masked_invalid(np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan))
    colours, norm = colormaps["Blues"].resampled(64), PowerNorm(0.5, 0, 1)  # the root shows rare mistakes too
    axes = figure.subplots()
    axes.set_facecolor("#efefef")  # rows without anything
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
            text = f"{confusion[row, column]:,}" if cells == "counts" else in_percent(shares[row, column])
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.05, 0.25, 0.5, 1])
        bar.ax.set_yticklabels(["0", "1 %", "5 %", "25 %", "50 %", "100 %"])
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")


def in_percent(share: float) -> str:
    """A share in per cent, as short as a cell needs it; only 0 and 1 themselves read 0 and 100."""
    if share >= 0.995:
        return "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}" if share >= 0.0005 else "<.1"


def name_axes(axes: "Axes", classes: Sequence[str]) -> None:
    """Class names at every row and column, long ones shortened in the middle; `$` does not start a formula."""
    names = [name if len(name) <= 18 else f"{name[:11]}…{name[-6:]}" for name in map(legible, classes)]
    upright = max(map(len, names)) <= 3
    axes.set_xticks(range(len(names)), names, parse_math=False, rotation=0 if upright else 90)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) > COUNTED:
        axes.tick_params(labelsize=7)


def confused_pairs(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Each confused pair: true, predicted, count, share of the true class; the most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -wrong[pair[0], pair[1]])
    return [
        {
            "true": classes[true],
            "predicted": classes[predicted],
            "count": int(wrong[true, predicted]),
            "share": wrong[true, predicted] / confusion[true].sum(),
        }
        for true, predicted in pairs
    ]
