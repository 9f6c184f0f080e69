"""The figure of the study of gradients."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipway.reporting.svg import quieten
from skipway.study.experiments.gradients_claims import HEALTHY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN, RESIDUAL, BARE = "#D55E00", "#0072B2", "#8a9099"
DASHES = {0.5: (":", "0.5 x"), 1.0: ("--", "1 x"), 2.0: ("-.", "2 x")}  # by variance of the initial weights


def draw(findings: Mapping[str, Any], figure: "Figure") -> None:
    start, trained, similarities = figure.subplots(3, 1, height_ratios=(6, 5, 4))
    for variance, (dash, name) in DASHES.items():
        rows = pick(findings, "plain56_bare", "start", variance)
        curve(start, rows, BARE, dash, f"plain, no batch norm, {name} He's variance")
    for word, model, colour in (("plain", "plain56", PLAIN), ("residual", "resnet56", RESIDUAL)):
        curve(start, pick(findings, model, "start"), colour, "-", f"{word}, batch norm")
        for moment, dash in (("early", "--"), ("end", "-")):
            curve(trained, pick(findings, model, moment), colour, dash, f"{word}, {moment}")
        similarity_curve(similarities, pick(findings, model, "start"), colour, word)
    titles = {
        start: "before training",
        trained: "early in training and at its end, batch norm",
        similarities: "before training, batch norm",
    }
    for axes, title in titles.items():
        quieten(axes)
        axes.set_title(f"56 layers, {title}", fontsize=9, loc="left")
        axes.set_xlabel("unit, first to last")
        if axes.lines:
            axes.legend(frameon=False, fontsize=8, loc="upper right" if axes is start else "best")
    for axes in (start, trained):
        axes.axhspan(1 / HEALTHY, HEALTHY, color="#eef1f4", zorder=0)
        axes.set_ylabel("gradient / last unit's")
    if start.lines:
        start.set_ylim(top=start.get_ylim()[1] * 1e6)  # room for the legend
    similarities.set_ylabel("cosine similarity")
    similarities.set_ylim(top=1)


def pick(findings: Mapping[str, Any], model: str, moment: str, variance: float = 1.0) -> list[dict[str, Any]]:
    """The rows of every seed."""
    wanted = {"model": model, "moment": moment, "variance": variance}
    return [found for found in findings["rows"] if wanted.items() <= found.items()]


def curve(axes: "Axes", rows: Sequence[Mapping[str, Any]], colour: str, dash: str, label: str) -> None:
    """Plot the gradient by unit relative to the last unit's, the geometric mean over seeds."""
    if not rows:
        return
    values = np.array([r["gradient"] for r in rows])
    ratios = np.exp(np.log(np.maximum(values / values[:, -1:], 1e-30)).mean(0))
    axes.semilogy(range(1, len(ratios) + 1), ratios, dash, color=colour, linewidth=1.5, label=label)


def similarity_curve(axes: "Axes", rows: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    values = np.array([r["alike"] for r in rows])
    axes.plot(range(1, values.shape[1] + 1), values.mean(0), "-", color=colour, linewidth=1.5, label=label)
