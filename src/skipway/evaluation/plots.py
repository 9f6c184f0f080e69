"""Figures of a report as inline SVG. Colours are Okabe and Ito's, which people who see fewer colours tell apart.

Matplotlib is imported where it draws, so that importing this module costs nothing. Figures are made without pyplot, so
none stays open. Text stays text, and takes the font of the page.
"""

import math
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from skipway.evaluation.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COUNTED, NAMED, DRAWN = 20, 40, 200  # at most this many classes: counts in the cells, names on the axes, a map at all
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#8a9099",
    "axes.labelcolor": "#3d444d",
    "text.color": "#3d444d",
    "xtick.color": "#8a9099",
    "ytick.color": "#8a9099",
    "xtick.labelcolor": "#3d444d",
    "ytick.labelcolor": "#3d444d",
}
QUANTITIES = {  # name for people, unit, factor to it
    "loss": ("Loss", "nats", 1),
    "top1": ("Top-1 accuracy", "%", 100),
    "map": ("Mean average precision", "%", 100),
    "f1_macro": ("Macro F1", "%", 100),
}
LINES = {"train": ("#0072B2", "-", "o"), "val": ("#D55E00", "--", "s")}  # colour, dash and marker: any one will do


def legible(name: str) -> str:
    """`name` with control characters and undecodable bytes written as escapes: no page and no SVG can hold them raw."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in {"Cc", "Cs", "Cn"} else c for c in name
    )


def measured(records: Sequence[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    """(epoch, value) wherever a record has a finite `key`."""
    return [(r["epoch"], r[key]) for r in records if key in r and math.isfinite(r[key])]


def curve(records: Sequence[dict[str, Any]], quantity: str) -> str | None:
    """A key of QUANTITIES of train and val by epoch, as SVG. None where neither has it."""
    lines = {name: points for name in LINES if (points := measured(records, f"{name}_{quantity}"))}
    if not lines:
        return None
    what, unit, scale = QUANTITIES[quantity]
    ends = [f"{name} from {p[0][1] * scale:.3g} to {p[-1][1] * scale:.3g}" for name, p in lines.items()]

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for name, points in lines.items():
            colour, dash, marker = LINES[name]
            epochs, values = zip(*points, strict=True)
            shape = marker if len(points) <= 15 else ""
            scaled = [scale * value for value in values]
            axes.plot(epochs, scaled, dash, color=colour, marker=shape, markersize=3.5, linewidth=1.6, label=name)
        quieten(axes)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{what} ({unit})")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 3.0), quantity, f"{what} by epoch, in {unit}: {'; '.join(ends)}.")


def quieten(axes: "Axes") -> None:
    """A faint grid, no frame."""
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def confusion_map(confusion: np.ndarray, classes: Sequence[str]) -> str | None:
    """The matrix (classes, classes), rows the truth, as SVG; a cell's colour is its share of the row.

    Up to 20 classes have counts in the cells and up to 40 their names on the axes; None above 200.
    """
    count = len(classes)
    if count > DRAWN:
        return None
    side = 3.2 + 0.19 * min(count, 24) if count <= NAMED else 5.6
    right, n = int(np.trace(confusion)), int(confusion.sum())
    words = f"Confusion matrix of {count} classes: {right:,} of {n:,} images on the diagonal."
    return svg(lambda figure: draw_map(figure, confusion, classes), (side + 0.5, side), "confusion", words)


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
    """Class names at every row and column, long ones without their middle; `$` is a character like any other."""
    names = [name if len(name) <= 18 else f"{name[:11]}…{name[-6:]}" for name in map(legible, classes)]
    upright = max(map(len, names)) <= 3
    axes.set_xticks(range(len(names)), names, parse_math=False, rotation=0 if upright else 90)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) > COUNTED:
        axes.tick_params(labelsize=7)


def reliability_diagram(bins: Reliability, key: str, several: bool) -> str:
    """Confidence against the share of right answers, with how many answers each bin holds below, as SVG.

    `key` tells the diagrams of a page apart; `several`: the bins are of labels and not of images.
    """
    confidence, truth = ("probability given", "had the label") if several else ("confidence", "right")
    words = (
        f"Reliability diagram: {confidence} against the share that was {truth}, in {len(bins.count)} bins; "
        f"expected calibration error {100 * bins.ece:.2f} %."
    )

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, sharex=True, height_ratios=(5, 1.3))
        held, edges = bins.count > 0, np.linspace(0, 1, len(bins.count) + 1)[:-1]
        width = 1 / len(bins.count)
        above.plot([0, 1], [0, 1], "--", color="#6b727b", linewidth=1, label="what it should be")
        above.bar(edges, bins.right, width * 0.92, align="edge", color="#9ecae1")
        above.vlines(bins.confidence[held], bins.confidence[held], bins.right[held], color="#D55E00", linewidth=1.4)
        above.plot(bins.confidence[held], bins.right[held], "o", color="#0072B2", markersize=4, label="what it is")
        below.bar(edges, bins.count / bins.count.sum(), width * 0.92, align="edge", color="#8a9099")
        for axes in (above, below):
            quieten(axes)
            axes.set_xlim(0, 1)
            percents(axes.xaxis)
            percents(axes.yaxis)
        above.set_ylim(0, 1)
        above.set_ylabel(f"{truth} (%)")
        below.set_ylabel("answers (%)")
        below.set_xlabel(f"{confidence} (%)")
        above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 4.2), key, words)


def percents(axis: "Axis") -> None:
    """Shares of 1 written as per cent."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:g}")


def svg(draw: Callable[["Figure"], None], size: tuple[float, float], key: str, words: str) -> str:
    """What `draw(figure)` draws, `size` inches, as an SVG element that says `words` to those who cannot see it.

    `key` tells the figures of a page apart: their ids must differ.
    """
    import matplotlib
    from matplotlib.figure import Figure

    file = BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts draw the text, not ours
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        silent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=silent, facecolor="none")
    return for_page(ElementTree.fromstring(file.getvalue()), words)


def for_page(root: ElementTree.Element, words: str) -> str:
    """A stand-alone SVG as an element of a page: no namespaces, no style for the whole page, only ids that are used."""
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        for name in [name for name in element.attrib if "}" in name]:
            element.set(name.split("}")[-1], element.attrib.pop(name))
    used = "".join(value for element in root.iter() for name, value in element.items() if name != "id")
    for parent in list(root.iter()):
        if f"#{parent.get('id')}" not in used:
            parent.attrib.pop("id", None)
        for child in [child for child in parent if child.tag == "style"]:
            parent.remove(child)
    shown = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": words, "stroke-linejoin": "round"}
    root.attrib.clear()
    root.attrib.update(shown)
    return ElementTree.tostring(root, encoding="unicode")
