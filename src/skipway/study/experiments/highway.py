"""Gated shortcuts compared with identity shortcuts, and the values of trained gates.

He 2016, sec. 3; Srivastava 2015.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.models.analysis.trace import layers
from skipway.models.base import Network
from skipway.models.highway import Highway
from skipway.models.preresnet import Exclusive
from skipway.reporting.svg import quieten
from skipway.study.engine.comparison import COLUMNS, compare_errors, error_cells, errors_by_label, plot_errors
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Check, CheckResult, Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, full_length, once
from skipway.study.engine.verdicts import above, decide, format_mean_std, mean, paired_difference
from skipway.study.experiments.highway_claims import CHANGED, CLAIMS, CLOSER, DEPARTURES, MOST, START
from skipway.study.probes.activations import forward_hooks
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IDENTITY, HALF_OPEN, CLOSED = "identity", "gates from b = 0", "gates from b = -6"
RESNET, HIGHWAY = "resnet32", "highway32"
PUBLISHED = {  # test errors on CIFAR-10; 110 layers for the first three
    IDENTITY: "6.61 (110 layers)",
    HALF_OPEN: "fail, above 20 (110 layers)",
    CLOSED: "8.70 (110 layers)",
    RESNET: "7.51",
    HIGHWAY: "8.80",
}
BIASES = {CLOSED: -6.0, HALF_OPEN: 0.0, HIGHWAY: -3.0}  # of the gates, at initialisation
COLOURS = dict(zip(BIASES, ("#0072B2", "#E69F00", "#009E73"), strict=True))
IMAGES: dict[ScaleName, int] = {"tiny": 16, "small": 256, "paper": 1024}  # on which the gates are measured
OPEN = 0.5  # a gate above this transforms more than it carries


def recipes(scale: Scale) -> dict[str, Recipe]:
    """The training runs by label."""
    deep = f"resnet{DEPTH[scale.name]}"
    models = {
        CLOSED: f"{deep}_exclusive_gate",
        HALF_OPEN: f"{deep}_exclusive_gate0",
        HIGHWAY: HIGHWAY,
        IDENTITY: deep,
        RESNET: RESNET,
    }
    return {label: full_length(scale, model) for label, model in models.items()}


def plan(scale: Scale) -> list[Recipe]:
    return once(list(recipes(scale).values()))


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def gates_of(net: nn.Module) -> list[nn.Conv2d]:
    """The convolutions whose sigmoid is a gate, in the order of the units."""
    units = [module for module in net.modules() if isinstance(module, Highway | Exclusive)]
    return [next(m for m in unit.gate.modules() if isinstance(m, nn.Conv2d)) for unit in units]


def openness(net: nn.Module, images: Tensor) -> dict[str, list[float]]:
    """By unit: the mean of its gates over images, channels and pixels, and the share of them above OPEN."""
    gates: list[Tensor] = []
    with torch.no_grad(), forward_hooks(gates_of(net), lambda _, __, out: gates.append(out.sigmoid())):
        net(images)
    return {
        "mean": [round(float(gate.mean()), 4) for gate in gates],
        "open": [round(float((gate > OPEN).float().mean()), 4) for gate in gates],
    }


def biases_of(net: nn.Module) -> Tensor:
    """The biases of all gates."""
    return torch.cat([gate.bias.detach() for gate in gates_of(net) if gate.bias is not None])


def share_lowered(before: nn.Module, after: nn.Module, kept: float = 1.0) -> float:
    """The share of the gates' biases that are lower in `after` than `kept` times their value in `before`."""
    return float((biases_of(after) < kept * biases_of(before)).float().mean())


def kept_by_decay(recipe: Recipe) -> float:
    """The share of a weight without a gradient that weight decay leaves after `recipe`, whose rate changes in steps.

    Each step takes rate x decay of the weight, and momentum repeats it 1 / (1 - momentum) times.
    """
    ends = (0.0, *recipe.milestones, 1.0)
    rates = sum(factor * (end - start) for factor, start, end in zip(recipe.factors, ends[:-1], ends[1:], strict=True))
    rate = recipe.lr * recipe.batch / recipe.lr_batch
    return math.exp(-rate * rates * recipe.iterations * recipe.weight_decay / (1 - recipe.momentum))


def gates_before_and_after(context: ExperimentContext, trained: TrainedNetwork) -> dict[str, Any]:
    """The gates of a network before and after training."""
    recipe = trained.run.recipe
    images, _ = context.images("test", IMAGES[context.scale.name], trained.preprocessing())
    fresh, net = context.untrained(recipe.model, recipe.seed).eval(), trained.net()
    return {
        "start": openness(fresh, images),
        "end": openness(net, images),
        "lowered": round(share_lowered(fresh, net), 4),
        "lowered_beyond_decay": round(share_lowered(fresh, net, kept_by_decay(recipe)), 4),
    }


def cost(context: ExperimentContext, net: Network) -> dict[str, int]:
    """Parameters, and multiply-adds for one image of the data set."""
    shape = (context.preprocessing.channels, context.preprocessing.size, context.preprocessing.size)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": sum(layer.multiply_adds for layer in layers(net, shape)),
    }


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by network and seed, costs of the networks, and their gates."""
    plans = recipes(context.scale)
    return {
        "layers": DEPTH[context.scale.name],
        "nets": errors_by_label(context, plans),
        "costs": {label: cost(context, context.untrained(recipe.model, 0).eval()) for label, recipe in plans.items()},
        "gates": {
            label: [gates_before_and_after(context, trained) for trained in context.converged(plans[label])]
            for label in BIASES
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, checks, table and figure


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    nets, gates = findings["nets"], findings["gates"][HIGHWAY]
    diverged = len(nets[HIGHWAY]) - len(gates)
    shortfall = f"{diverged} of {len(nets[HIGHWAY])} seeds of {HIGHWAY} diverged" if diverged else ""
    return [
        compare_errors(claims["identity"], steps, nets, IDENTITY, [HALF_OPEN, CLOSED], ("test",)),
        compare_errors(claims["start"], steps, nets, CLOSED, [HALF_OPEN], ("test",)),
        compare_errors(claims["highway"], steps, nets, RESNET, [HIGHWAY], ("test",)),
        decide_biases(claims["biases"], steps, gates, shortfall),
        decide_closing(claims["closing"], steps, gates, shortfall),
    ]


def decide_biases(claim: Claim, steps: int, gates: Sequence[Mapping[str, Any]], shortfall: str) -> Verdict:
    """Whether the gradient lowers most biases: they end lower than weight decay alone, which raises them, would leave
    them."""
    lowered = [100 * found["lowered"] for found in gates]
    words = f"lower than at the start: {format_mean_std(lowered, digits=1, unit=' %')}"
    if any("lowered_beyond_decay" not in found for found in gates):
        return decide(claim, steps, (), words, "the effect of weight decay was not separated")
    beyond = [100 * found["lowered_beyond_decay"] for found in gates]
    words += f"; lower than by weight decay alone: {format_mean_std(beyond, digits=1, unit=' %')}"
    effects = [above(MOST, beyond, f"biases lowered - {MOST:g} %", 0.0, "points")] if beyond else []
    return decide(claim, steps, effects, words, shortfall)


def decide_closing(claim: Claim, steps: int, gates: Sequence[Mapping[str, Any]], shortfall: str) -> Verdict:
    """Whether the gates are closed further after training than before it, where most are nearly closed already."""
    start, end = ([100 * mean(found[moment]["mean"]) for found in gates] for moment in ("start", "end"))
    words = ", ".join(
        f"{when} training {format_mean_std(values, unit=' %')}" for when, values in (("before", start), ("after", end))
    )
    effects = [paired_difference(end, start, "mean gate, start - end", CLOSER, "points")] if gates else []
    return decide(claim, steps, effects, f"mean gate: {words}", shortfall)


def run_checks(findings: Findings) -> list[CheckResult]:
    """Whether gates start at the sigmoid of their biases."""
    starts = {
        label: [mean(found["start"]["mean"]) for found in findings["gates"][label]]
        for label in BIASES
        if findings["gates"][label]
    }
    errors = [abs(value - 1 / (1 + math.exp(-BIASES[label]))) for label, values in starts.items() for value in values]
    words = ", ".join(f"{label} {format_mean_std(values, digits=4)}" for label, values in starts.items())
    return [CheckResult("gates-start", bool(errors) and max(errors) <= START, words or "not measured")]


def open_share(gates: Mapping[str, Sequence[float]]) -> float:
    """The share of open gates, averaged over units."""
    return mean(gates["open"])


def table(findings: Findings) -> Table:
    rows = []
    for label in PUBLISHED:
        runs, paid = findings["nets"][label], findings["costs"][label]
        name = f"{label}, {findings['layers']} layers" if label in (IDENTITY, HALF_OPEN, CLOSED) else label
        gates = findings["gates"].get(label, [])
        opened = [
            format_mean_std([100 * open_share(found[moment]) for found in gates], digits=2) if gates else "–"
            for moment in ("start", "end")
        ]
        price = (f"{paid['parameters'] / 1e6:.2f} M", f"{paid['multiply_adds'] / 1e6:.0f} M")
        rows.append((name, *price, *error_cells(runs), *opened, PUBLISHED[label]))
    measured = ("gates open before training, %", "gates open after training, %")
    columns = ("network", "parameters", "multiply-adds, full-sized image", *COLUMNS, *measured)
    return Table((*columns, "paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    top, bottom = figure.subplots(2, 1, height_ratios=(4, 5))
    nets = {label: findings["nets"][label] for label in PUBLISHED}
    if nets[RESNET] == nets[IDENTITY]:
        del nets[RESNET]  # the same network, where the first three have 32 layers too
    plot_errors(top, {row_label(label, findings["layers"]): runs for label, runs in nets.items()})
    for label in BIASES:
        for i, found in enumerate(findings["gates"][label]):
            profile(bottom, found, COLOURS[label], label if i == 0 else None)
    bottom.plot([], [], "--", color="#8a9099", linewidth=1.3, label="dashed: before training")
    quieten(bottom)
    bottom.set_yscale("log")
    bottom.set_ylim(0.001, 1)
    bottom.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
    bottom.set_yticks([], minor=True)
    bottom.set_xlabel("unit, from first (0) to last (1)")
    bottom.set_ylabel("mean gate (log scale)")
    bottom.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # above the lines


def row_label(label: str, layers_: int) -> str:
    """The label of a network with its number of layers and whether it has batch norm."""
    if label == HIGHWAY:
        return "highway, 32 layers,\nno batch norm"
    return f"{'identity' if label == RESNET else label},\n{32 if label == RESNET else layers_} layers"


def profile(axes: "Axes", found: Mapping[str, Mapping[str, Sequence[float]]], colour: str, label: str | None) -> None:
    """Plot the mean gate by unit, before and after training."""
    for moment, dash in (("start", "--"), ("end", "-")):
        means = found[moment]["mean"]
        places = [i / max(1, len(means) - 1) for i in range(len(means))]
        axes.plot(places, means, dash, color=colour, linewidth=1.3, label=label if moment == "end" else None)


STUDY = Study(
    name="highway",
    title="Gated shortcuts and identity shortcuts",
    question="Is a shortcut with a learnt gate better than an identity shortcut?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.6, 5.6),
    reading=(
        "Top: blue circles are training errors, orange squares test errors, one for each seed. Bottom: the mean gate "
        "of each unit over test images, a line for each seed, dashed before training and solid after it: 0 passes the "
        "input on, 1 replaces it by the branch. The scale is logarithmic."
    ),
    departures=DEPARTURES,
    changed=CHANGED,
    checks=(
        Check(
            "gates-start",
            "Before training the mean gate is the sigmoid of its initial bias.",
            "He 2016, sec. 3.1; Srivastava 2015, sec. 2.2",
            f"0.0025 for -6, 0.0474 for -3 and 0.5 for 0, each within {START:g} in every seed",
        ),
    ),
    run_checks=run_checks,
)
