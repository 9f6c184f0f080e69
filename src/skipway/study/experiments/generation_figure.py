"""The panels of the figure of the study `generation`, one below the other, so that a narrow screen shows them large."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.reporting.svg import quieten
from skipway.study.engine.experiment import Findings
from skipway.study.engine.verdicts import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHTS = (3.0, 2.2, 2.2, 2.2, 4.3)  # of the panels, relative to each other
BLUE, ORANGE, YELLOW, GREY = "#0072B2", "#D55E00", "#E69F00", "#8a9099"
LEVELS = 6  # shades of the drawn images, white included
LABELS = {
    "unet8_residual1": "unet8 as it is",
    "unet8_residual2": "2 units a level",
    "unet8_residual4": "4 units a level",
    "unet8_plain1": "no shortcuts",
    "unet8_plain2": "no shortcuts, 2 units",
    "unet8_plain4": "no shortcuts, 4 units",
    "unet8_not_zeroed1": "not zeroed",
    "unet8_not_zeroed4": "not zeroed, 4 units",
    "unet8_no_long_skips": "no long skips",
    "unet8_ddpm": "DDPM form",
    "unet8_ddpm_plain": "DDPM form, no shortcuts",
}
DEEP = {  # the lines of the networks with 4 units a level: label, colour and dash
    "unet8_residual4": ("shortcuts, zeroed", BLUE, "-"),
    "unet8_not_zeroed4": ("shortcuts, not zeroed", YELLOW, "-."),
    "unet8_plain4": ("no shortcuts", ORANGE, "--"),
}
BY_DEPTH = {"unet8_residual": ("shortcuts", BLUE, "o-"), "unet8_plain": ("no shortcuts", ORANGE, "s--")}


def draw_panels(figure: "Figure", findings: Findings, healthy: float) -> None:
    """`healthy`: the relative gradient below which one has vanished."""
    panels = figure.subplots(len(HEIGHTS), 1, height_ratios=HEIGHTS)
    networks = findings["networks"]
    plot_losses(panels[0], networks, findings["steps"])
    plot_depths(panels[1], networks)
    plot_starts(panels[2], networks, findings["untrained"])
    plot_gradients(panels[3], networks, healthy)
    drawn = {LABELS[name]: runs[0]["samples"] for name, runs in networks.items() if runs[0]["samples"]}
    plot_images(panels[4], drawn, findings["side"])


def titled(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def plot_losses(axes: "Axes", networks: Mapping[str, Any], steps: int) -> None:
    """The held-out loss of every seed, a row for each network, and a dotted line at the mean of the first."""
    for row, (name, runs) in enumerate(networks.items()):
        colour, marker = (ORANGE, "s") if "plain" in name else (BLUE, "o")
        axes.plot([run["test"] for run in runs], [row] * len(runs), marker, color=colour, markersize=4.5)
    first = next(iter(networks.values()))
    axes.axvline(mean([run["test"] for run in first]), color=GREY, linewidth=0.9, linestyle=":")
    quieten(axes)
    axes.set_yticks(range(len(networks)), [LABELS[name] for name in networks])
    axes.invert_yaxis()
    titled(axes, f"Loss on new images after {steps:,} steps", "velocity loss, lower is better; a mark a seed")


def plot_depths(axes: "Axes", networks: Mapping[str, Any]) -> None:
    """The held-out loss by units a level, with and without shortcuts."""
    for start, (label, colour, style) in BY_DEPTH.items():
        found = {units: networks[f"{start}{units}"] for units in (1, 2, 4) if f"{start}{units}" in networks}
        tests = [[run["test"] for run in runs] for runs in found.values()]
        axes.plot(list(found), [mean(each) for each in tests], style[1:], color=colour, linewidth=1.4)
        for i, (units, each) in enumerate(zip(found, tests, strict=True)):
            axes.plot([units] * len(each), each, style[0], color=colour, markersize=4.5, label=None if i else label)
    quieten(axes)
    axes.set_xticks([1, 2, 4])
    titled(axes, "Do more units help?", "units a level", "loss on new images")
    axes.legend(frameon=False, fontsize=8)


def plot_starts(axes: "Axes", networks: Mapping[str, Any], untrained: float) -> None:
    """The training loss of the deep networks, a line for each seed, from that of the velocity 0."""
    for name, (label, colour, dash) in DEEP.items():
        for i, run in enumerate(networks.get(name, [])):
            steps, losses = zip((0, untrained), *run["curve"], strict=True)
            axes.plot(steps, losses, dash, color=colour, linewidth=1.3, label=None if i else label)
    quieten(axes)
    titled(axes, "How fast they learn, 4 units a level", "step", "loss in training")
    axes.legend(frameon=False, fontsize=8)


def plot_gradients(axes: "Axes", networks: Mapping[str, Any], healthy: float) -> None:
    """The gradient after each unit of the untrained deep networks, a line for each seed."""
    for name, (label, colour, dash) in DEEP.items():
        for i, run in enumerate(networks.get(name, [])):
            units = range(1, len(run["gradients"]) + 1)
            axes.semilogy(units, run["gradients"], dash, color=colour, linewidth=1.3, label=None if i else label)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axhline(healthy, color=GREY, linewidth=0.9, linestyle=":", label="vanished below this")
    quieten(axes)
    titled(axes, "Gradient before training, 4 units a level", "unit, from input to output", "relative to the last unit")
    axes.set_ylim(bottom=axes.get_ylim()[0] * 1e-3)  # room for the legend
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def plot_images(axes: "Axes", rows: Mapping[str, Sequence[str]], side: Sequence[int]) -> None:
    """Images in hexadecimal, a byte a pixel, of `side` (height, width): dark where their pixels are bright.

    They are drawn as shapes, a path for each shade, because pages load no pictures.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    height, width = side
    found: dict[int, list[tuple[float, float]]] = {}
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            for shade, x, y, length in shaded_runs(bytes.fromhex(image), width):
                left, top = column * (width + 1) + x, row * (height + 1) + y
                right = left + length
                found.setdefault(shade, []).extend(
                    [(left, top), (right, top), (right, top + 1), (left, top + 1), (left, top)]
                )
    corners = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    for shade, points in sorted(found.items()):
        path = Path(points, corners * (len(points) // len(corners)))
        grey = str(1 - shade / (LEVELS - 1))
        axes.add_patch(PathPatch(path, facecolor=grey, edgecolor="none", antialiased=False))
    columns = max(map(len, rows.values()), default=1)
    axes.set_xlim(-1, columns * (width + 1))
    axes.set_ylim(max(len(rows), 1) * (height + 1), -1)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([(height + 1) * row + height / 2 for row in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    titled(axes, "What they draw, a digit of each class")


def shaded_runs(image: bytes, width: int) -> Iterator[tuple[int, int, int, int]]:
    """(shade, x, y, length) of every run of equal pixels in a row, white ones left out."""
    shades = [round(value / 255 * (LEVELS - 1)) for value in image]
    for y, start in enumerate(range(0, len(shades), width)):
        x = 0
        for shade, run in itertools.groupby(shades[start : start + width]):
            length = len(list(run))
            if shade:
                yield shade, x, y, length
            x += length
