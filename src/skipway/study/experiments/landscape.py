"""The loss surface around trained networks with and without shortcuts.

Li 2018, sec. 6.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Effect, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale
from skipway.study.engine.verdicts import above, decide, difference, format_mean_std, mean
from skipway.study.experiments.degradation import CIFAR, trainings
from skipway.study.experiments.landscape_figure import SQUARES, draw_panels
from skipway.study.probes.loss_surface import GRIDS, RISE, Grid, downhill_share, grid_points, lines, square, width
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETS = ("plain56", "resnet56", "plain20", "resnet20")  # deep networks first
PUBLISHED = {"resnet20": 7.37, "resnet56": 5.89, "plain20": 8.18, "plain56": 13.31}  # test errors in per cent
NARROWER, ROUGHER = 2.0, 2.0  # per cent of the filters' norm, and of the variation; smaller differences count as equal
LI_STEPS = 117_300  # 300 epochs of 391 steps of 128 images
TEN_CLASSES = math.log(10)  # nats; the chance loss of results that do not give it


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`."""
    recipes = trainings(CIFAR, scale)
    return [recipes[model] for model in NETS]


def analyse(context: ExperimentContext) -> Findings:
    """Lines through every network of every seed; squares for the deep networks of the first seed."""
    grid, found = GRIDS[context.scale.name], dict[str, list[dict[str, Any]]]()
    for recipe in plan(context.scale):
        own = context.converged(recipe)
        found[recipe.model] = [lines_of(context, trained, grid) for trained in own]
        if recipe.model in SQUARES and own:
            found[recipe.model][0]["square"] = square(context, own[0], grid)
    return {
        "images": grid.images,
        "chance": math.log(len(context.dataset.classes)),
        "line": grid_points(grid.points),
        "square": grid_points(grid.across),
        "nets": found,
    }


def lines_of(context: ExperimentContext, trained: TrainedNetwork, grid: Grid) -> dict[str, Any]:
    through = lines(context, trained, grid)
    return {
        "seed": trained.run.recipe.seed,
        "lines": through,
        "loss": through[0][len(through[0]) // 2],
        "test": round(trained.outcome.test_error, 3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def chance_of(findings: Findings) -> float:
    """The loss of chance in nats."""
    return float(findings.get("chance", TEN_CLASSES))


def values(findings: Findings, model: str, key: str) -> dict[int, float]:
    """A figure of every seed that did not diverge: width and descent in per cent, averaged over the directions."""
    nets, chance = findings["nets"][model], chance_of(findings)
    measures = {
        "width": lambda net: 100 * mean([width(line) for line in net["lines"]]),
        "descent": lambda net: 100 * mean([downhill_share(line, chance) for line in net["lines"]]),
    }
    return {net["seed"]: measures[key](net) if key in measures else net[key] for net in nets}


def widening(findings: Findings, depth: int) -> list[float]:
    """By how much shortcuts widen the valley at a depth, in per cent of the filters' norm, for every seed of which
    neither network diverged."""
    plain, residual = (values(findings, f"{kind}{depth}", "width") for kind in ("plain", "resnet"))
    return [residual[seed] - plain[seed] for seed in sorted(plain.keys() & residual.keys())]


def shortfall(findings: Findings, models: Sequence[str]) -> str:
    """Why the networks are not trained enough to have a valley, empty if they are: a loss higher by RISE must still be
    below chance."""
    chance = chance_of(findings)
    losses = {model: list(values(findings, model, "loss").values()) for model in models}
    for model, found in losses.items():
        if not found:
            return f"{model} diverged in every seed"
        if mean(found) + RISE > chance:
            return (
                f"{model} has a training loss of {mean(found):.2f} nats, from which {RISE:g} nat more leads above "
                f"chance ({chance:.2f}): it has no valley to measure"
            )
    return ""


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    shallow, deep = widening(findings, 20), widening(findings, 56)
    wider = f"wider with shortcuts by {format_values(shallow)} with 20 layers, by {format_values(deep)} with 56"
    effects: list[Effect] = []
    if shallow and deep:
        what, unit = "widening by shortcuts", "% of the norm"
        effects = [
            difference(shallow, deep, f"{what}, 56 layers - 20 layers", NARROWER, unit),
            above(0.0, deep, f"{what}, 56 layers", NARROWER, unit),
        ]
    return [
        compare(claims["sharper"], steps, findings, "width", ("plain56", "resnet56")),
        compare(claims["rougher"], steps, findings, "descent", ("resnet56", "plain56")),
        decide(claims["depth"], steps, effects, wider, shortfall(findings, NETS)),
    ]


WORDS = {"width": "width of the valley", "descent": "share of the variation that is downhill"}


def compare(claim: Claim, steps: int, findings: Findings, key: str, nets: tuple[str, str]) -> Verdict:
    """The verdict on a claim that the first of two networks has the lower figure."""
    lower, higher = (list(values(findings, model, key).values()) for model in nets)
    least, unit = (NARROWER, "% of the norm") if key == "width" else (ROUGHER, "points")
    effects: list[Effect] = []
    if lower and higher:
        effects = [difference(lower, higher, f"{WORDS[key]}, {nets[1]} - {nets[0]}", least, unit)]
    measured = f"{WORDS[key]}: {nets[0]} {format_values(lower)}, {nets[1]} {format_values(higher)}"
    return decide(claim, steps, effects, measured, shortfall(findings, ("resnet56", "plain56")))


def format_values(figures: Sequence[float]) -> str:
    return format_mean_std(figures, 1, " %") if figures else "diverged"


def table(findings: Findings) -> Table:
    columns = (
        "network",
        "training loss, nats",
        "width of the valley, % of the norm",
        "downhill share, %",
        "test error, %",
        "Li's test error, %",
    )
    digits = {"loss": 3, "width": 1, "descent": 1, "test": 2}
    rows = []
    for model in ("resnet20", "plain20", "resnet56", "plain56"):
        figures = {key: list(values(findings, model, key).values()) for key in digits}
        cells = [format_mean_std(figures[key], digits[key]) if figures[key] else "diverged" for key in digits]
        rows.append((model, *cells, f"{PUBLISHED[model]:.2f}"))
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    draw_panels(figure, findings, chance_of(findings))


CLAIMS = (
    Claim(
        "sharper",
        "Without shortcuts a network of 56 layers ends in a sharper minimum: its valley is narrower.",
        "Li 2018, secs. 4 and 6, Fig. 1",
        "plots without numbers; test error 13.31 % without shortcuts, 5.89 % with them",
        f"the means differ by at least {NARROWER:g} % of the filters' norm, and the 95 % interval of their difference "
        "does not contain 0",
        "The valley of the plain network is wider.",
        published_steps=LI_STEPS,
    ),
    Claim(
        "rougher",
        "Without shortcuts the surroundings of the minimum are rough: away from it the loss goes up and down.",
        "Li 2018, sec. 6, Fig. 1",
        "plots: chaotic without shortcuts, nearly convex with them",
        f"within the valley the shares differ by at least {ROUGHER:g} points, and the 95 % interval of their "
        "difference does not contain 0",
        "Around the plain network a smaller share of the variation is downhill.",
        published_steps=LI_STEPS,
    ),
    Claim(
        "depth",
        "Shortcuts matter less with 20 layers than with 56: they widen the valley of the deeper network, and more.",
        "Li 2018, sec. 6, Fig. 5",
        "plots; test error without and with shortcuts: 8.18 % and 7.37 % with 20 layers, 13.31 % and 5.89 % with 56",
        f"both effects are at least {NARROWER:g} % of the filters' norm, and their 95 % intervals do not contain 0",
        "Shortcuts widen the valley more with 20 layers, or narrow it with 56.",
        published_steps=LI_STEPS,
    ),
)

STUDY = Study(
    name="landscape",
    title="The loss surface around networks with and without shortcuts",
    question="What does the loss surface around a trained network look like?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(4.8, 13.0),
    reading=(
        "The upper two maps show the training loss over two random directions, with the trained network at the cross: "
        "the contours are labelled in nats, and grey is above chance, where the network is no better than guessing. "
        "Below, for each depth: the loss along single directions, the line at the median over directions and seeds, "
        f"the band from the lowest to the highest. The width is the distance at which the loss has risen by {RISE:g} "
        "nat, and a distance of 1 is the norm of each filter."
    ),
    departures=(
        "Networks are trained by the recipe of He 2015 for CIFAR, as in `degradation`; the paper trains for 300 epochs "
        "with Nesterov momentum and a weight decay five times as large.",
        "The loss is computed on a part of the training images without augmentation; 256 of them at scale small.",
        "Width and downhill share are our own measures; the paper uses plots and curvatures.",
        "Few random directions are sampled: features of the surface outside these slices are not seen.",
    ),
    changed=(
        "The first version measured the downhill share along whole lines, and a network with a training loss of 1.36 "
        "nats gave it on the level ground above chance: roughness counts only within the valley now, up to the loss "
        "of chance, and in the loss itself instead of its logarithm.",
        f"It had no condition on training. Now a loss higher by {RISE:g} nat must still be below chance.",
        "Lines have twice as many points at scale small. The networks are those of `degradation`: 16,000 iterations "
        "at 16 x 16 pixels, instead of 4,000 at 32 x 32.",
    ),
)
