"""Gated shortcuts against the identity, and how open the gates end (He 2016, sec. 3; Srivastava 2015)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.models.highway import Highway
from skipway.models.layers import layers
from skipway.models.preresnet import Exclusive
from skipway.study.bench import Bench, Trained
from skipway.study.brief import DEPTH, SMALLER, brief, once
from skipway.study.contest import APART, COLUMNS, cells, contest, marks, outcomes
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict
from skipway.study.signals import watched
from skipway.study.verdicts import every, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IDENTITY, HALF_OPEN, CLOSED = "identity", "gates from b = 0", "gates from b = -6"
RESNET, HIGHWAY = "resnet32", "highway32"
PUBLISHED = {  # test errors on CIFAR-10, of 110 layers where the net has a gate on both paths
    IDENTITY: "6.61 (110 layers)",
    HALF_OPEN: "fail, above 20 (110 layers)",
    CLOSED: "8.70 (110 layers)",
    RESNET: "7.51",
    HIGHWAY: "8.80",
}
GATED = (CLOSED, HALF_OPEN, HIGHWAY)
COLOURS = dict(zip(GATED, ("#0072B2", "#E69F00", "#009E73"), strict=True))
IMAGES: dict[ScaleName, int] = {"tiny": 16, "small": 256, "paper": 1024}  # on which the gates are watched
OPEN = 0.5  # of a gate; above it, it transforms more than it carries
FEW = 0.25  # of all gates


def recipes(scale: Scale) -> dict[str, Recipe]:
    """The trainings by label."""
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
# What is measured


def gates_of(net: nn.Module) -> list[nn.Conv2d]:
    """The convolutions whose sigmoid opens a branch, in the order of the units."""
    units = [module for module in net.modules() if isinstance(module, Highway | Exclusive)]
    return [next(m for m in unit.gate.modules() if isinstance(m, nn.Conv2d)) for unit in units]


def openness(net: nn.Module, images: Tensor) -> dict[str, list[float]]:
    """By unit: the mean of its gates over images, channels and pixels, and the share of them above OPEN."""
    gates: list[Tensor] = []
    with torch.no_grad(), watched(gates_of(net), lambda _, __, out: gates.append(out.sigmoid())):
        net(images)
    return {
        "mean": [round(float(gate.mean()), 4) for gate in gates],
        "open": [round(float((gate > OPEN).float().mean()), 4) for gate in gates],
    }


def lowered(before: nn.Module, after: nn.Module) -> float:
    """The share of the gates' biases that are lower in `after`."""
    biases = [
        torch.cat([gate.bias.detach() for gate in gates_of(net) if gate.bias is not None]) for net in (before, after)
    ]
    return float((biases[1] < biases[0]).float().mean())


def both_ends(bench: Bench, trained: Trained) -> dict[str, Any]:
    """The gates of a net before and after its training."""
    feeding, recipe = trained.preprocessing(), trained.run.recipe
    images, _ = bench.images("test", IMAGES[bench.scale.name], feeding)
    fresh, net = bench.fresh(recipe.model, recipe.seed).eval(), trained.net()
    return {"start": openness(fresh, images), "end": openness(net, images), "lowered": round(lowered(fresh, net), 4)}


def cost(bench: Bench, net: Network) -> dict[str, int]:
    """Parameters, and multiply-adds for one of the bench's images."""
    shape = (bench.feeding.channels, bench.feeding.size, bench.feeding.size)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": sum(layer.multiply_adds for layer in layers(net, shape)),
    }


def analyse(bench: Bench) -> Findings:
    """Errors by net and seed in per cent, what the nets cost, and their gates."""
    plans = recipes(bench.scale)
    return {
        "layers": DEPTH[bench.scale.name],
        "nets": outcomes(bench, plans),
        "costs": {label: cost(bench, bench.fresh(recipe.model, 0).eval()) for label, recipe in plans.items()},
        "gates": {label: [both_ends(bench, trained) for trained in bench.finished(plans[label])] for label in GATED},
    }


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    nets, gates = findings["nets"], findings["gates"][HIGHWAY]
    whole = len(gates) == len(nets[HIGHWAY])
    return [
        contest(claims["identity"], scale, nets, IDENTITY, [HALF_OPEN, CLOSED], ("test",)),
        contest(claims["start"], scale, nets, CLOSED, [HALF_OPEN], ("test",)),
        contest(claims["highway"], scale, nets, RESNET, [HIGHWAY], ("test",)),
        judge_gates(claims["biases"], scale, [found["lowered"] for found in gates], whole, lambda share: share > 0.5),
        judge_gates(claims["sparse"], scale, [opened(one["end"]) for one in gates], whole, lambda share: share < FEW),
    ]


def opened(gates: Mapping[str, Sequence[float]]) -> float:
    """The share of open gates, each unit weighing the same."""
    return sum(gates["open"]) / len(gates["open"])


def judge_gates(
    claim: Claim, scale: Scale, shares: Sequence[float], whole: bool, holds: Callable[[float], bool]
) -> Verdict:
    """The verdict on a share of the gates or biases of every seed; `whole`: none of them diverged."""
    seen = every([holds(share) for share in shares]) if whole else None
    words = spread([100 * share for share in shares], digits=1, unit=" %")
    return settle(claim, scale, seen, words if whole else f"{words}; the other seeds diverged")


def table(findings: Findings) -> Table:
    rows = []
    for label in PUBLISHED:
        runs, paid = findings["nets"][label], findings["costs"][label]
        name = f"{label}, {findings['layers']} layers" if label in (IDENTITY, HALF_OPEN, CLOSED) else label
        gates = findings["gates"].get(label, [])
        ends = spread([100 * opened(found["end"]) for found in gates], digits=1) if gates else "–"
        price = (f"{paid['parameters'] / 1e6:.2f} M", f"{paid['multiply_adds'] / 1e6:.0f} M")
        rows.append((name, *price, *cells(runs), ends, PUBLISHED[label]))
    columns = ("net", "parameters", "multiply-adds, whole image", *COLUMNS, "gates open at the end, %")
    return Table((*columns, "the paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    marks(left, {label: findings["nets"][label] for label in PUBLISHED})
    left.set_title(f"First three: {findings['layers']} layers", fontsize=9)
    for label in GATED:
        for i, found in enumerate(findings["gates"][label]):
            profile(right, found, COLOURS[label], label if i == 0 else None)
    quieten(right)
    right.set_ylim(0, 1)
    right.set_xlabel("unit, from first (0) to last (1)")
    right.set_ylabel("mean of the transform gates")
    right.set_title("Dashed: before training. Solid: after it", fontsize=9)
    right.legend(frameon=False, fontsize=8)


def profile(axes: "Axes", found: Mapping[str, Mapping[str, Sequence[float]]], colour: str, label: str | None) -> None:
    """The mean gate by unit, before and after training."""
    for moment, dash in (("start", "--"), ("end", "-")):
        means = found[moment]["mean"]
        places = [i / max(1, len(means) - 1) for i in range(len(means))]
        axes.plot(places, means, dash, color=colour, linewidth=1.3, label=label if moment == "end" else None)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

TABLE_1 = "He 2016, sec. 3.1 and Table 1"
STUDY = Study(
    name="highway",
    title="Gates on the shortcut against the identity",
    question="Is a shortcut that learns how much to carry better than one that carries everything?",
    claims=(
        Claim(
            "identity",
            "At equal depth, and at no more cost, the identity is better than gates on shortcut and branch.",
            TABLE_1,
            "110 layers: identity 6.61 %, gates from b = -6 8.70 %, from b = 0 fail (above 20 %)",
            APART,
            "In every seed a gated net has the lower test error.",
        ),
        Claim(
            "start",
            "Gates must begin nearly closed: those that begin half open hamper the training.",
            TABLE_1,
            "110 layers: b = -6 8.70 %, b = 0 fails (above 20 %)",
            APART,
            "In every seed the net whose gates begin half open has the lower test error.",
        ),
        Claim(
            "highway",
            "A residual net of 32 layers is better than a highway net of 32, with fewer parameters.",
            "He 2015, Table 6",
            "resnet32 7.51 % with 0.46 M parameters, highway 8.80 % with 1.25 M",
            APART,
            "In every seed the highway net has the lower test error.",
        ),
        Claim(
            "biases",
            "Most biases of a highway net's gates fall further during training, negative as they begin.",
            "Srivastava 2015 (arXiv:1507.06228), analysis of Fig. 2",
            "50 fully connected layers, MNIST and CIFAR-100: most fell; no figures",
            "in every seed more than half of the biases are lower after training",
            "In every seed half of the biases or more are not lower after training.",
        ),
        Claim(
            "sparse",
            "At the end few gates are open: a highway layer carries most of what it is given.",
            "Srivastava 2015 (arXiv:1507.06228), analysis of Fig. 2",
            "50 fully connected layers, MNIST and CIFAR-100: for a single image very few are; no figures",
            f"in every seed fewer than {100 * FEW:.0f} % of the gates are above {OPEN}",
            f"In every seed {100 * FEW:.0f} % of the gates or more are above {OPEN}.",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(9.5, 3.4),
    reading=(
        "Left, blue circles are training errors, orange squares test errors, one a seed. Right, how far the gates "
        "of each unit are open, on average over test images: 0 carries the input on, 1 puts the branch in its place."
    ),
    departures=(
        SMALLER,
        "Gates on residual units cost some 6 % more than the identity, which is the cheaper net here as in the paper.",
        "highway32 is a reconstruction, of which the paper gives depth and parameters; it is trained as the "
        "residual net is, on CIFAR-10, not by its authors' recipe.",
        "Gates are watched in convolutional layers; Srivastava's figure shows fully connected ones.",
    ),
)
