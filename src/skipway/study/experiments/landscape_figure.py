"""The panels of the figure of the study `landscape`, one below the other, so that a narrow screen shows them large."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipway.reporting.svg import quieten
from skipway.study.engine.experiment import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SQUARES = ("resnet56", "plain56")
TITLES = {"resnet56": "resnet56, with shortcuts", "plain56": "plain56, without shortcuts"}
HEIGHTS = (4.0, 4.0, 2.4, 2.4)  # of the panels, relative to each other
STEPS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)  # nats, of the contours below chance
PLAIN, RESIDUAL, GREY = "#D55E00", "#0072B2", "#8a9099"
TICKS = (-1, -0.5, 0, 0.5, 1)


def draw_panels(figure: "Figure", findings: Findings, chance: float) -> None:
    """`chance`: the loss of guessing in nats."""
    panels = figure.subplots(len(HEIGHTS), 1, height_ratios=HEIGHTS)
    for axes, model in zip(panels, SQUARES, strict=False):
        if findings["nets"][model]:
            draw_square(axes, findings["square"], findings["nets"][model][0]["square"], chance)
        titled(axes, TITLES[model], "distance along one random direction", "along another")
    for axes, depth in zip(panels[len(SQUARES) :], (20, 56), strict=True):
        draw_lines(axes, findings, depth, chance)


def titled(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xticks(TICKS)


def draw_square(axes: "Axes", side: Sequence[float], losses: Sequence[Sequence[float]], chance: float) -> None:
    """The loss below chance in colours with labelled contours, grey above it, and a cross at the trained network."""
    levels = [0.0, *(step for step in STEPS if step < chance), chance]
    shown = np.asarray(losses)
    axes.set_facecolor("#dfe2e6")
    axes.contourf(side, side, shown, levels, cmap="viridis")
    lines = axes.contour(side, side, shown, levels[1:-1], colors="white", linewidths=0.8)
    axes.clabel(lines, fmt="%g", fontsize=8)
    edge = axes.contour(side, side, shown, [chance], colors="#1c1f23", linewidths=1.2)
    axes.clabel(edge, fmt=f"chance {chance:.2f}", fontsize=8)
    axes.plot(0, 0, "+", color="#D55E00", markersize=10, markeredgewidth=2)
    axes.set_aspect("equal")
    axes.set_yticks(TICKS)
    axes.tick_params(length=0)


def draw_lines(axes: "Axes", findings: Findings, depth: int, chance: float) -> None:
    """The median of all directions and seeds as a line, in a band from the lowest to the highest, and chance."""
    for kind, colour, dash in (("plain", PLAIN, "--"), ("resnet", RESIDUAL, "-")):
        found: list[Any] = [line for net in findings["nets"][f"{kind}{depth}"] for line in net["lines"]]
        if found:
            low, middle, high = np.percentile(found, (0, 50, 100), axis=0)
            axes.fill_between(findings["line"], low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(findings["line"], middle, dash, color=colour, linewidth=1.6, label=f"{kind}{depth}")
    axes.axhline(chance, color=GREY, linewidth=0.9, linestyle=":", label="chance")
    quieten(axes)
    axes.set_ylim(0, 2 * chance)
    titled(axes, f"{depth} layers", "distance, in filter norms", "training loss (nats)")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
