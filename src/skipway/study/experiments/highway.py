"""Gated shortcuts compared with identity shortcuts, and the values of trained gates.

He 2016, sec. 3; Srivastava 2015.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.models.analysis.trace import layers
from skipway.models.base import Network
from skipway.models.highway import Highway
from skipway.models.preresnet import Exclusive
from skipway.reporting.svg import quieten
from skipway.study.engine.comparison import APART, COLUMNS, compare_errors, error_cells, errors_by_label, plot_errors
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, SMALLER, brief, once
from skipway.study.engine.verdicts import all_seeds, decide_verdict, format_mean_std
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
GATED = (CLOSED, HALF_OPEN, HIGHWAY)
COLOURS = dict(zip(GATED, ("#0072B2", "#E69F00", "#009E73"), strict=True))
IMAGES: dict[ScaleName, int] = {"tiny": 16, "small": 256, "paper": 1024}  # on which the gates are measured
OPEN = 0.5  # a gate above this transforms more than it carries
FEW = 0.25  # of all gates


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
    return {label: brief(scale, model) for label, model in models.items()}


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


def share_lowered(before: nn.Module, after: nn.Module) -> float:
    """The share of the gates' biases that are lower in `after`."""
    biases = [
        torch.cat([gate.bias.detach() for gate in gates_of(net) if gate.bias is not None]) for net in (before, after)
    ]
    return float((biases[1] < biases[0]).float().mean())


def gates_before_and_after(context: ExperimentContext, trained: TrainedNetwork) -> dict[str, Any]:
    """The gates of a network before and after training."""
    recipe = trained.run.recipe
    images, _ = context.images("test", IMAGES[context.scale.name], trained.preprocessing())
    fresh, net = context.untrained(recipe.model, recipe.seed).eval(), trained.net()
    return {
        "start": openness(fresh, images),
        "end": openness(net, images),
        "lowered": round(share_lowered(fresh, net), 4),
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
            for label in GATED
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    nets, gates = findings["nets"], findings["gates"][HIGHWAY]
    complete = len(gates) == len(nets[HIGHWAY])
    return [
        compare_errors(claims["identity"], scale, nets, IDENTITY, [HALF_OPEN, CLOSED], ("test",)),
        compare_errors(claims["start"], scale, nets, CLOSED, [HALF_OPEN], ("test",)),
        compare_errors(claims["highway"], scale, nets, RESNET, [HIGHWAY], ("test",)),
        decide_gates(
            claims["biases"], scale, [found["lowered"] for found in gates], complete, lambda share: share > 0.5
        ),
        decide_gates(
            claims["sparse"], scale, [open_share(one["end"]) for one in gates], complete, lambda share: share < FEW
        ),
    ]


def open_share(gates: Mapping[str, Sequence[float]]) -> float:
    """The share of open gates, averaged over units."""
    return sum(gates["open"]) / len(gates["open"])


def decide_gates(
    claim: Claim, scale: Scale, shares: Sequence[float], complete: bool, holds: Callable[[float], bool]
) -> Verdict:
    """The verdict on a share of the gates or biases of every seed; `complete`: no seed diverged."""
    supported = all_seeds([holds(share) for share in shares]) if complete else None
    words = format_mean_std([100 * share for share in shares], digits=1, unit=" %")
    return decide_verdict(claim, scale, supported, words if complete else f"{words}; the other seeds diverged")


def table(findings: Findings) -> Table:
    rows = []
    for label in PUBLISHED:
        runs, paid = findings["nets"][label], findings["costs"][label]
        name = f"{label}, {findings['layers']} layers" if label in (IDENTITY, HALF_OPEN, CLOSED) else label
        gates = findings["gates"].get(label, [])
        ends = format_mean_std([100 * open_share(found["end"]) for found in gates], digits=1) if gates else "–"
        price = (f"{paid['parameters'] / 1e6:.2f} M", f"{paid['multiply_adds'] / 1e6:.0f} M")
        rows.append((name, *price, *error_cells(runs), ends, PUBLISHED[label]))
    columns = ("network", "parameters", "multiply-adds, full-sized image", *COLUMNS, "gates open after training, %")
    return Table((*columns, "paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    plot_errors(left, {label: findings["nets"][label] for label in PUBLISHED})
    left.set_title(f"First three: {findings['layers']} layers", fontsize=9)
    for label in GATED:
        for i, found in enumerate(findings["gates"][label]):
            profile(right, found, COLOURS[label], label if i == 0 else None)
    quieten(right)
    right.set_ylim(0, 1)
    right.set_xlabel("unit, from first (0) to last (1)")
    right.set_ylabel("mean of the transform gates")
    right.set_title("Dashed: before training. Solid: after training", fontsize=9)
    right.legend(frameon=False, fontsize=8)


def profile(axes: "Axes", found: Mapping[str, Mapping[str, Sequence[float]]], colour: str, label: str | None) -> None:
    """Plot the mean gate by unit, before and after training."""
    for moment, dash in (("start", "--"), ("end", "-")):
        means = found[moment]["mean"]
        places = [i / max(1, len(means) - 1) for i in range(len(means))]
        axes.plot(places, means, dash, color=colour, linewidth=1.3, label=label if moment == "end" else None)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

TABLE_1 = "He 2016, sec. 3.1 and Table 1"
STUDY = Study(
    name="highway",
    title="Gated shortcuts and identity shortcuts",
    question="Is a shortcut with a learnt gate better than an identity shortcut?",
    claims=(
        Claim(
            "identity",
            "At equal depth and no higher cost, the identity is better than gates on shortcut and branch.",
            TABLE_1,
            "110 layers: identity 6.61 %, gates from b = -6 8.70 %, from b = 0 fail (above 20 %)",
            APART,
            "A gated network has the lower test error in every seed.",
        ),
        Claim(
            "start",
            "Gates must be initialised nearly closed: gates initialised half open impair training.",
            TABLE_1,
            "110 layers: b = -6 8.70 %, b = 0 fails (above 20 %)",
            APART,
            "The network with gates initialised half open has the lower test error in every seed.",
        ),
        Claim(
            "highway",
            "A residual network of 32 layers is better than a highway network of 32, with fewer parameters.",
            "He 2015, Table 6",
            "resnet32 7.51 % with 0.46 M parameters, highway 8.80 % with 1.25 M",
            APART,
            "The highway network has the lower test error in every seed.",
        ),
        Claim(
            "biases",
            "Most gate biases of a highway network, negative at initialisation, decrease further during training.",
            "Srivastava 2015 (arXiv:1507.06228), analysis of Fig. 2",
            "50 fully connected layers, MNIST and CIFAR-100: most decreased; no numbers",
            "in every seed more than half of the biases are lower after training",
            "In every seed half of the biases or more are not lower after training.",
        ),
        Claim(
            "sparse",
            "After training few gates are open: a highway layer passes on most of its input.",
            "Srivastava 2015 (arXiv:1507.06228), analysis of Fig. 2",
            "50 fully connected layers, MNIST and CIFAR-100: very few for a single image; no numbers",
            f"in every seed fewer than {100 * FEW:.0f} % of the gates are above {OPEN}",
            f"In every seed {100 * FEW:.0f} % of the gates or more are above {OPEN}.",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(9.5, 3.4),
    reading=(
        "Left: blue circles are training errors, orange squares test errors, one for each seed. Right: the mean gate "
        "of each unit over test images: 0 passes the input on, 1 replaces it by the branch."
    ),
    departures=(
        SMALLER,
        "Gates on residual units cost about 6 % more than the identity, which is cheaper here as in the paper.",
        "highway32 is a reconstruction from the depth and number of parameters given in the paper; it is trained like "
        "the residual network, on CIFAR-10, not by its authors' recipe.",
        "Gates are measured in convolutional layers; Srivastava's figure shows fully connected ones.",
    ),
)
