"""The figure of `lesion`."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from skipway.reporting.svg import quieten
from skipway.study.engine.experiment import Findings
from skipway.study.engine.verdicts import mean
from skipway.study.probes.ablation import gradient_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESIDUAL, PLAIN, VGG = "resnet56", "plain56", "vgg14"
COLOURS = {RESIDUAL: "#0072B2", PLAIN: "#D55E00", VGG: "#CC79A7"}


def name_of(row: Mapping[str, Any]) -> str:
    return f"{row['model']}, {row['others']}" if row["others"] else f"{row['model']}, seed {row['seed']}"


def by_count(row: Mapping[str, Any], kind: str) -> dict[int, float]:
    """The mean error by the number of units removed or pairs swapped, from 0."""
    counts = sorted({draw[0] for draw in row[kind]})
    return {0: row["whole"]} | {n: mean([draw[1] for draw in row[kind] if draw[0] == n]) for n in counts}


def draw(findings: Findings, figure: "Figure") -> None:
    one, many, paths = figure.subplots(3, 1)
    named: set[str] = set()
    for row in findings["rows"]:
        label = f"{row['model']}, {row['others']}" if row["others"] else row["model"]
        shown = None if label in named else label
        named.add(label)
        plot_one(one, row, shown)
        plot_many(many, row, shown)
        plot_paths(paths, row, shown)
    plot_odds(paths, findings)
    many.set_xticks(sorted({0, *(count for row in findings["rows"] for count, _ in row["cut"] if count != 3)}))
    for axes, title, x, y in (
        (one, "One unit removed", "unit", "error (%)"),
        (many, "Several units removed, or pairs swapped", "number of units or pairs", "error (%)"),
        (paths, "Where the gradient comes from", "branches on the path", "share (%)"),
    ):
        quieten(axes)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=0)
    one.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2)
    many.legend(frameon=False, fontsize=8, loc="lower right")
    paths.legend(frameon=False, fontsize=8)


def style_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Colour and dash."""
    return COLOURS.get(row["model"], "#8a9099"), ":" if row["others"] else "-"


def plot_one(axes: "Axes", row: Mapping[str, Any], label: str | None) -> None:
    colour, dash = style_of(row)
    if row["one"]:
        numbers, values = zip(*row["one"], strict=True)
        axes.plot(np.array(numbers) + 1, values, f"o{dash}", color=colour, markersize=2.5, linewidth=0.9, label=label)


def plot_many(axes: "Axes", row: Mapping[str, Any], label: str | None) -> None:
    """The residual network's errors, and those of the plain one with units removed."""
    colour, dash = style_of(row)
    if row["model"] == VGG:
        return
    axes.plot(*zip(*by_count(row, "cut").items(), strict=True), f"o{dash}", color=colour, markersize=3, label=label)
    if row["model"] == RESIDUAL and not row["others"]:
        swaps, swapped = by_count(row, "swap"), f"{label}, pairs swapped" if label else None
        axes.plot(*zip(*swaps.items(), strict=True), "s--", color=colour, markersize=3, linewidth=0.9, label=swapped)


def plot_paths(axes: "Axes", row: Mapping[str, Any], label: str | None) -> None:
    colour, dash = style_of(row)
    if "paths" in row:
        shares = [100 * share for share in gradient_shares(row["paths"])]
        axes.plot(range(len(shares)), shares, dash, color=colour, label=f"{label}: gradient" if label else None)


def plot_odds(axes: "Axes", findings: Findings) -> None:
    """The share of all paths of each length."""
    units = max((row["units"] for row in findings["rows"] if "paths" in row), default=0)
    if units:
        odds = [100 * math.comb(units, k) / 2**units for k in range(units + 1)]
        axes.plot(range(units + 1), odds, "--", color="#6e7781", linewidth=1.2, label="all paths: number")
