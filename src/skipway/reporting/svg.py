"""Figures as inline SVG. Colours are Okabe and Ito's, which are safe for colour blindness.

Matplotlib is imported only to draw, so that importing this module is cheap. Figures are made without pyplot, so none
stays open. Text stays text, in the font of the page.
"""

import math
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

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
LINES = {"train": ("#0072B2", "-", "o"), "val": ("#D55E00", "--", "s")}  # colour, dash and marker: each alone is enough


def legible(name: str) -> str:
    """`name` with control characters and undecodable bytes as escapes, which pages and SVG cannot contain."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in {"Cc", "Cs", "Cn"} else c for c in name
    )


def measured(records: Sequence[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    """(epoch, value) of each record with a finite `key`."""
    return [(r["epoch"], r[key]) for r in records if key in r and math.isfinite(r[key])]


def curve(records: Sequence[dict[str, Any]], quantity: str, what: str, unit: str, scale: float) -> str | None:
    """The figure `quantity` of train and val by epoch, times `scale`, as SVG. None where neither has it.

    what, unit: displayed name and unit.
    """
    lines = {name: points for name in LINES if (points := measured(records, f"{name}_{quantity}"))}
    if not lines:
        return None
    in_unit = f", in {unit}" if unit else ""
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
        axes.set_ylabel(f"{what} ({unit})" if unit else what)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return svg(draw, (4.7, 3.0), quantity, f"{what} by epoch{in_unit}: {'; '.join(ends)}.")


def quieten(axes: "Axes") -> None:
    """A faint grid, no frame."""
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def percents(axis: "Axis") -> None:
    """Ticks of shares of 1 in per cent."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:g}")


def svg(draw: Callable[["Figure"], None], size: tuple[float, float], key: str, description: str) -> str:
    """What `draw(figure)` draws, `size` in inches, as an SVG element with `description` for screen readers.

    `key` makes the ids of a page's figures unique.
    """
    import matplotlib
    from matplotlib.figure import Figure

    file = BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts draw the text, not ours
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=no_metadata, facecolor="none")
    return for_page(ElementTree.fromstring(file.getvalue()), description)


def for_page(root: ElementTree.Element, description: str) -> str:
    """A stand-alone SVG as an element of a page: no namespaces, no global style, only ids that are used."""
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
    shown = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": description, "stroke-linejoin": "round"}
    root.attrib.clear()
    root.attrib.update(shown)
    return ElementTree.tostring(root, encoding="unicode")
