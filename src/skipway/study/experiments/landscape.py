"""The loss surface around trained networks with and without shortcuts.

Li 2018, sec. 6.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import decide_verdict, format_mean_std, mean, separated
from skipway.study.probes.loss_surface import GRIDS, RISE, Grid, downhill_share, grid_points, lines, square, width
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS = ("plain56", "resnet56", "plain20", "resnet20")  # deep networks first
SQUARES = ("resnet56", "plain56")
PUBLISHED = {"resnet20": 7.37, "resnet56": 5.89, "plain20": 8.18, "plain56": 13.31}  # test errors in per cent
NARROWER, ROUGHER = 0.02, 0.02  # smaller differences of width and of descent count as equal
PLAIN, RESIDUAL = "#D55E00", "#0072B2"


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`."""
    return [training(scale, model) for model in NETS]


def analyse(context: ExperimentContext) -> Findings:
    """Lines through every network of every seed; squares for the deep networks of the first seed."""
    grid, found = GRIDS[context.scale.name], dict[str, list[dict[str, Any]]]()
    for model in NETS:
        own = context.converged(training(context.scale, model))
        found[model] = [lines_of(context, trained, grid) for trained in own]
        if model in SQUARES and own:
            found[model][0]["square"] = square(context, own[0], grid)
    return {"images": grid.images, "line": grid_points(grid.points), "square": grid_points(grid.across), "nets": found}


def lines_of(context: ExperimentContext, trained: TrainedNetwork, grid: Grid) -> dict[str, Any]:
    through = lines(context, trained, grid)
    return {
        "seed": trained.run.recipe.seed,
        "lines": through,
        "loss": through[0][len(through[0]) // 2],
        "width": round(mean([width(line) for line in through]), 4),
        "descent": round(mean([downhill_share(line) for line in through]), 4),
        "test": round(trained.outcome.test_error, 3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def values(findings: Findings, model: str, key: str) -> list[float]:
    """A figure of every seed that did not diverge."""
    return [net[key] for net in findings["nets"][model]]


def gaps(findings: Findings, depth: int) -> list[float]:
    """By how much shortcuts widen the valley at a depth, by seed; seeds with a diverged network are left out."""
    plain, residual = (
        {net["seed"]: net["width"] for net in findings["nets"][f"{kind}{depth}"]} for kind in ("plain", "resnet")
    )
    return [round(residual[seed] - plain[seed], 4) for seed in sorted(plain.keys() & residual.keys())]


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    def both(key: str) -> tuple[list[float], list[float], str]:
        plain, residual = values(findings, "plain56", key), values(findings, "resnet56", key)
        return plain, residual, f"plain56 {format_values(plain)}, resnet56 {format_values(residual)}"

    plain, residual, widths = both("width")
    narrower = separated(plain, residual, NARROWER)
    plain, residual, descents = both("descent")
    rougher = separated(residual, plain, ROUGHER)
    shallow, deep = gaps(findings, 20), gaps(findings, 56)
    matters = separated(shallow, deep, NARROWER)
    if matters and min(deep) <= 0:
        matters = None  # inconclusive if shortcuts narrow the valley at both depths
    wider = f"wider with shortcuts by {format_values(shallow)} with 20 layers, by {format_values(deep)} with 56"
    return [
        decide_verdict(claims["sharper"], scale, narrower, f"width of the valley: {widths}"),
        decide_verdict(claims["rougher"], scale, rougher, f"share of the variation that is downhill: {descents}"),
        decide_verdict(claims["depth"], scale, matters, wider),
    ]


def format_values(figures: Sequence[float], digits: int = 3) -> str:
    return format_mean_std(figures, digits) if figures else "diverged"


def table(findings: Findings) -> Table:
    columns = (
        "network",
        "training loss, nats",
        "width of the valley",
        "downhill share",
        "test error, %",
        "Li's test error, %",
    )
    keys = ("loss", "width", "descent")
    rows = [
        (
            model,
            *(format_values(values(findings, model, key)) for key in keys),
            format_values(values(findings, model, "test"), 2),
            f"{PUBLISHED[model]:.2f}",
        )
        for model in ("resnet20", "plain20", "resnet56", "plain56")
    ]
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    """Top: the squares of the deep networks. Bottom: the lines of both depths."""
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    above, below = halves
    tops, bottoms = above.subplots(1, 2, sharey=True), below.subplots(1, 2, sharey=True)
    for axes, model in zip(tops, SQUARES, strict=True):
        if findings["nets"][model]:
            draw_square(axes, findings["square"], findings["nets"][model][0]["square"], model)
    tops[0].set_ylabel("along another")
    if tops[0].collections:
        bar = above.colorbar(tops[0].collections[0], ax=tops, ticks=[-1, 0, 1, 2, 3], shrink=0.9)
        bar.ax.set_yticklabels(["0.1", "1", "10", "100", "1000 or more"])
        bar.set_label("training loss (nats)")
        bar.ax.tick_params(length=0)
    for axes, depth in zip(bottoms, (20, 56), strict=True):
        draw_lines(axes, findings, depth)
    bottoms[0].set_ylabel("training loss (nats)")


def draw_square(axes: "Axes", side: Sequence[float], losses: Sequence[Sequence[float]], model: str) -> None:
    """Colour and contours of the loss on a logarithmic scale, with a cross at the trained network."""
    levels = np.linspace(-2, 3, 31)
    shown = np.clip(np.log10(losses), levels[0], levels[-1] - 1e-6)
    axes.contourf(side, side, shown, levels, cmap="cividis")
    axes.contour(side, side, shown, levels[::3], colors="white", linewidths=0.5, linestyles="solid")
    axes.plot(0, 0, "+", color="#D55E00", markersize=9, markeredgewidth=1.8)
    axes.set_title({"resnet56": "resnet56: with shortcuts", "plain56": "plain56: without"}[model], fontsize=9)
    axes.set_aspect("equal")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("along one random direction")
    axes.tick_params(length=0)


def draw_lines(axes: "Axes", findings: Findings, depth: int) -> None:
    """Plot every direction of every seed as a line."""
    for kind, colour in (("plain", PLAIN), ("resnet", RESIDUAL)):
        lines = [line for net in findings["nets"][f"{kind}{depth}"] for line in net["lines"]]
        for i, line in enumerate(lines):
            label = f"{kind}{depth}" if i == 0 else None
            axes.plot(findings["line"], line, color=colour, linewidth=1, alpha=0.7, label=label)
    quieten(axes)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("distance, in filter norms")
    axes.set_title(f"{depth} layers", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


APART = "the seeds of the two networks do not overlap, and the means differ by at least {}"
CLAIMS = (
    Claim(
        "sharper",
        "Without shortcuts a network of 56 layers ends in a sharper minimum: its valley is narrower.",
        "Li 2018, secs. 4 and 6, Fig. 1",
        "plots without numbers; test error 13.31 % without shortcuts, 5.89 % with them",
        APART.format(f"{NARROWER} filter norms"),
        "The valley of the plain network is wider in every seed.",
    ),
    Claim(
        "rougher",
        "Without shortcuts the surroundings of the minimum are rough: away from it the loss goes up and down.",
        "Li 2018, sec. 6, Fig. 1",
        "plots: chaotic without shortcuts, nearly convex with them",
        APART.format(f"{ROUGHER} of the variation"),
        "Around the plain network a smaller share of the variation is downhill, in every seed.",
    ),
    Claim(
        "depth",
        "Shortcuts matter less with 20 layers than with 56.",
        "Li 2018, sec. 6, Fig. 5",
        "plots; test error without and with shortcuts: 8.18 % and 7.37 % with 20 layers, 13.31 % and 5.89 % with 56",
        f"shortcuts widen the valley more with 56 layers, in every seed and by {NARROWER} filter norms on average",
        "Shortcuts widen the valley more with 20 layers, in every seed.",
    ),
)

STUDY = Study(
    name="landscape",
    title="Shortcuts smooth the loss surface around a deep network",
    question="What does the loss surface around a trained network look like?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(8.0, 6.6),
    reading=(
        "Top: the training loss over two random directions, with the trained network at the cross; the contours are "
        "equally spaced in the logarithm of the loss. Bottom: each line is the loss along one direction through one "
        "trained network. The width is the distance at which the loss has risen by "
        f"{RISE:g} nat, in units of each filter's norm."
    ),
    departures=(
        "Networks are trained by the recipe of He 2015 for CIFAR, as in `degradation`; the paper trains for 300 epochs "
        "with Nesterov momentum and a weight decay five times as large.",
        "The loss is computed on a part of the training images without augmentation; 256 of them at scale small.",
        "Width and downhill share are our own measures; the paper uses plots and curvatures.",
        "Few random directions are sampled: features of the surface outside these slices are not seen.",
    ),
)
