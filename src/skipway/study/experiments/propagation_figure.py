"""The figure of `propagation`."""

from typing import TYPE_CHECKING

from skipway.reporting.svg import quieten
from skipway.study.engine.experiment import Findings
from skipway.study.engine.verdicts import mean
from skipway.study.probes.branch_sums import SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"identity": "#0072B2", "rectified": "#D55E00", "plain": "#6e7781"}
LABELS = {
    "identity": "nothing after the addition (2016)",
    "rectified": "ReLU after the addition (2015)",
    "plain": "no shortcut",
}


def draw(findings: Findings, figure: "Figure") -> None:
    panels = [draw_sums]
    panels += [draw_truncated] if findings.get("truncated") else []
    panels += [draw_small] if findings.get("small") else []
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False).flat, panels, strict=True):
        panel(axes, findings)
        quieten(axes)
        axes.legend(frameon=False, fontsize=8)


def draw_sums(axes: "Axes", findings: Findings) -> None:
    """The difference of the signal from the sum by units passed, a line for each stage, the mean over seeds."""
    for kind in ("rectified", "identity"):
        rows = [row["forward"] for row in findings["rows"] if row["kind"] == kind]
        for stage in range(len(rows[0]) if rows else 0):
            values = [mean(at_unit) for at_unit in zip(*(row[stage] for row in rows), strict=True)]
            label = LABELS[kind] if stage == 0 else None
            axes.plot(range(1, len(values) + 1), values, "o-", color=COLOURS[kind], markersize=3, label=label)
            if kind == "rectified":
                axes.annotate(f" stage {stage + 1}", (len(values), values[-1]), color=COLOURS[kind], va="center")
    axes.margins(x=0.14)
    axes.set_title("Trained: how far is the signal from the sum?", fontsize=9)
    axes.set_xlabel("units passed, within a stage")
    axes.set_ylabel("difference / signal")


def draw_truncated(axes: "Axes", findings: Findings) -> None:
    """The share of sums below zero by unit of the deeper network, a line for each seed."""
    rows = [row for row in findings["truncated"] if row["model"] == "resnet56"]
    for when, dash, words in (("start", "--", "before training"), ("end", "-", "after training")):
        for i, row in enumerate(rows):
            units = range(1, len(row[when]) + 1)
            axes.plot(units, row[when], dash, color=COLOURS["rectified"], linewidth=1.3, label=None if i else words)
    axes.set_title("resnet56: what does the ReLU set to zero?", fontsize=9)
    axes.set_xlabel("unit")
    axes.set_ylabel("sums below 0 (%)")
    axes.set_ylim(bottom=0)


def draw_small(axes: "Axes", findings: Findings) -> None:
    """The gradient by unit with small weights, on a logarithmic axis, the mean over seeds."""
    for kind in ("plain", "rectified", "identity"):
        rows = [row["gradients"] for row in findings["small"] if row["kind"] == kind]
        values = [mean(at_unit) for at_unit in zip(*rows, strict=True)]
        width = 4 if kind == "rectified" else 1.3  # the line of the units of 2016 lies on it
        axes.semilogy(range(1, len(values) + 1), values, "-", color=COLOURS[kind], linewidth=width, label=LABELS[kind])
    axes.set_title(f"Untrained, weights times {SMALL:g}: the gradient", fontsize=9)
    axes.set_xlabel("unit")
    axes.set_ylabel("gradient / the last unit's")
