"""With shortcuts a deep net's minimum lies in a wide, smooth valley, without them in a chasm (Li 2018, sec. 6)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipway.evaluation.plots import quieten
from skipway.study.bench import Bench, Trained
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.surface import GRIDS, RISE, Grid, descent, lines, places, square, width
from skipway.study.verdicts import apart, mean, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS = ("plain56", "resnet56", "plain20", "resnet20")  # the deep ones first
SQUARES = ("resnet56", "plain56")
PUBLISHED = {"resnet20": 7.37, "resnet56": 5.89, "plain20": 8.18, "plain56": 13.31}  # test errors in per cent
NARROWER, ROUGHER = 0.02, 0.02  # smaller differences of width and of descent count as none
PLAIN, RESIDUAL = "#D55E00", "#0072B2"


def plan(scale: Scale) -> list[Recipe]:
    """The trainings of `degradation`."""
    return [training(scale, model) for model in NETS]


def analyse(bench: Bench) -> Findings:
    """Lines through every net of every seed; squares of the deep nets of the first seed."""
    grid, found = GRIDS[bench.scale.name], dict[str, list[dict[str, Any]]]()
    for model in NETS:
        own = bench.finished(training(bench.scale, model))
        found[model] = [lines_of(bench, trained, grid) for trained in own]
        if model in SQUARES and own:
            found[model][0]["square"] = square(bench, own[0], grid)
    return {"images": grid.images, "line": places(grid.points), "square": places(grid.across), "nets": found}


def lines_of(bench: Bench, trained: Trained, grid: Grid) -> dict[str, Any]:
    through = lines(bench, trained, grid)
    return {
        "seed": trained.run.recipe.seed,
        "lines": through,
        "loss": through[0][len(through[0]) // 2],
        "width": round(mean([width(line) for line in through]), 4),
        "descent": round(mean([descent(line) for line in through]), 4),
        "test": round(trained.outcome.test_error, 3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def values(findings: Findings, model: str, key: str) -> list[float]:
    """A figure of every seed; those that diverged have none."""
    return [net[key] for net in findings["nets"][model]]


def gaps(findings: Findings, depth: int) -> list[float]:
    """By how much shortcuts widen the valley at a depth, by seeds of which neither net diverged."""
    plain, residual = (
        {net["seed"]: net["width"] for net in findings["nets"][f"{kind}{depth}"]} for kind in ("plain", "resnet")
    )
    return [round(residual[seed] - plain[seed], 4) for seed in sorted(plain.keys() & residual.keys())]


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    def of(key: str) -> tuple[list[float], list[float], str]:
        plain, residual = values(findings, "plain56", key), values(findings, "resnet56", key)
        return plain, residual, f"plain56 {told(plain)}, resnet56 {told(residual)}"

    plain, residual, widths = of("width")
    narrower = apart(plain, residual, NARROWER)
    plain, residual, descents = of("descent")
    rougher = apart(residual, plain, ROUGHER)
    shallow, deep = gaps(findings, 20), gaps(findings, 56)
    matters = apart(shallow, deep, NARROWER)
    if matters and min(deep) <= 0:
        matters = None  # shortcuts that narrow both valleys do not matter as the claim has it
    wider = f"wider with shortcuts by {told(shallow)} with 20 layers, by {told(deep)} with 56"
    return [
        settle(claims["sharper"], scale, narrower, f"width of the valley: {widths}"),
        settle(claims["rougher"], scale, rougher, f"share of the way outwards that goes down: {descents}"),
        settle(claims["depth"], scale, matters, wider),
    ]


def told(figures: Sequence[float], digits: int = 3) -> str:
    return spread(figures, digits) if figures else "diverged"


def table(findings: Findings) -> Table:
    columns = (
        "net",
        "training loss, nats",
        "width of the valley",
        "downhill on the way out",
        "test error, %",
        "Li's test error, %",
    )
    keys = ("loss", "width", "descent")
    rows = [
        (
            model,
            *(told(values(findings, model, key)) for key in keys),
            told(values(findings, model, "test"), 2),
            f"{PUBLISHED[model]:.2f}",
        )
        for model in ("resnet20", "plain20", "resnet56", "plain56")
    ]
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    """Above the squares of the deep nets, below the lines of both depths."""
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
    """Colour and contours of the loss on a logarithmic scale; a cross where the trained net is."""
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
    """Every direction of every seed as a line."""
    for kind, colour in (("plain", PLAIN), ("resnet", RESIDUAL)):
        lines = [line for net in findings["nets"][f"{kind}{depth}"] for line in net["lines"]]
        for i, line in enumerate(lines):
            label = f"{kind}{depth}" if i == 0 else None
            axes.plot(findings["line"], line, color=colour, linewidth=1, alpha=0.7, label=label)
    quieten(axes)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("distance, in lengths of each filter")
    axes.set_title(f"{depth} layers", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


APART = "every seed of one net is on the same side of every seed of the other, the means {} apart"
CLAIMS = (
    Claim(
        "sharper",
        "Without shortcuts the minimum that a net of 56 layers ends in is sharper: its valley is narrower.",
        "Li 2018, secs. 4 and 6, Fig. 1",
        "seen in surfaces, without a figure; test error 13.31 % without shortcuts, 5.89 % with them",
        APART.format(f"{NARROWER} lengths of the filters"),
        "The valley of the plain net is the wider one in every seed.",
    ),
    Claim(
        "rougher",
        "And its surroundings are no bowl: on the way outwards the loss goes up and down.",
        "Li 2018, sec. 6, Fig. 1",
        "seen in surfaces: chaotic without shortcuts, nearly convex with them",
        APART.format(f"{ROUGHER} of the way"),
        "The loss around the plain net goes down less on the way outwards, in every seed.",
    ),
    Claim(
        "depth",
        "With 20 layers shortcuts matter less than with 56.",
        "Li 2018, sec. 6, Fig. 5",
        "seen in surfaces; test error 8.18 % against 7.37 % with 20 layers, 13.31 % against 5.89 % with 56",
        f"what shortcuts add to the width is more with 56 layers, in every seed and by {NARROWER} lengths on average",
        "Shortcuts widen the valley more with 20 layers, in every seed.",
    ),
)

STUDY = Study(
    name="landscape",
    title="Shortcuts smooth the loss around a deep net",
    question="What does the loss look like around a trained net?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(8.0, 6.6),
    reading=(
        "Above: the training loss over two random directions, the trained net at the cross; every white line is a "
        "step up by the same factor. Below: each line goes through one trained net along one direction. A wide, "
        "round valley is one that is easy to be in. The width is how far one gets until the loss has risen by "
        f"{RISE:g} nat, in lengths of each filter."
    ),
    departures=(
        "Nets are trained by He's recipe for CIFAR, that of `degradation`; the paper trains for 300 epochs with "
        "Nesterov momentum and a weight decay five times as large.",
        "The surface is taken over a part of the training images, as they are; at small 256 of them.",
        "Width and descent are figures of ours; the paper looks at pictures, and at curvatures.",
        "Random directions are a few of very many: what no slice shows may still be there.",
    ),
)
