"""How signals pass units: as a plain sum, where nothing follows the addition (He 2016, sec. 2, equations 4 and 5)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.study.bench import Bench
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.signals import Objective, cross_entropy, forward_and_backward, norms, units_of, watched
from skipway.study.verdicts import every, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT, BROKEN = 1e-9, 0.05  # of the signal's norm, in float64; more than BROKEN is no sum
FAINT = 1e-3  # what small weights are multiplied by
# Without batch norm, which would undo the multiplication in a plain net; the 2016 paper's addition, and none at all.
SUMMED, PLAIN = "preresnet20_bare", "plain20_bare"
IMAGES = {"tiny": 4, "small": 32, "paper": 64}
QUARTER = 0.25  # of a full training, for the net that no other study trains
COLOURS = {"identity": "#0072B2", "rectified": "#D55E00"}
WORDS = {"identity": "nothing after the addition (2016)", "rectified": "a rectifier after it (2015)"}


def nets(scale: Scale) -> dict[str, Recipe]:
    """One net of each kind: the additions of 2016, and of 2015."""
    depth = 20 if scale.name == "tiny" else 56
    return {
        "identity": training(scale, f"preresnet{depth}", QUARTER),
        "rectified": training(scale, f"resnet{depth}"),
    }


def plan(scale: Scale) -> list[Recipe]:
    return list(nets(scale).values())


# ---------------------------------------------------------------------------------------------------------------------
# What is measured


def chains(net: Network, x: Tensor) -> list[list[tuple[nn.Module, Tensor]]]:
    """The longest rows of units, in each stage, whose shortcuts hand on the very signal; each unit with its input."""
    inputs: dict[nn.Module, Tensor] = {}
    with watched(units_of(net), lambda unit, given, _: inputs.__setitem__(unit, given)):
        net(x)
    found: list[list[tuple[nn.Module, Tensor]]] = []
    for stage in net.stages:
        row = [(unit, inputs[unit]) for unit in net.get_submodule(stage).children()]
        found.append([(unit, given) for unit, given in row if unit.skip(given) is given])  # type: ignore[operator]
    return found


def relative(difference: Tensor, whole: Tensor) -> float:
    return (difference.norm() / whole.norm()).item()


def not_a_sum(net: Network, images: Tensor, objective: Objective) -> dict[str, list[list[float]]]:
    """How far signals and gradients are from the sums of equations 4 and 5, relative to them.

    forward: of each stage, after 1, 2, ... units from its first, x_L against x_l plus the branches' outputs;
    backward: likewise from its last unit back, the gradient at x_l against the one at x_L plus what came back through
    the branches.
    """
    outputs, gradients = forward_and_backward(net, images, objective)
    after = dict(zip(units_of(net), zip(outputs, gradients, strict=True), strict=True))
    forward, backward = [], []
    for row in chains(net, images):
        total, along = row[0][1].detach(), []
        for unit, given in row:
            total = total + unit.branch(given).detach()  # type: ignore[operator]
            along.append(relative(after[unit][0] - total, after[unit][0]))
        forward.append(along)
        total, along = after[row[-1][0]][1], []
        for (unit, given), (before, _) in zip(row[:0:-1], row[-2::-1], strict=True):
            total = total + through_branch(unit, given, after[unit][1])
            along.append(relative(after[before][1] - total, after[before][1]))
        backward.append(along)
    return {"forward": forward, "backward": backward}


def through_branch(unit: nn.Module, given: Tensor, gradient: Tensor) -> Tensor:
    """The gradient that comes back to a unit's input through its branch alone."""
    leaf = given.detach().requires_grad_()
    with torch.enable_grad():
        out = unit.branch(leaf)  # type: ignore[operator]
    return torch.autograd.grad(out, leaf, gradient)[0]


def faint(net: Network) -> Network:
    """`net`, the weights of every unit's convolutions multiplied by a small number."""
    for unit in units_of(net):
        for module in unit.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.data *= FAINT
    return net


def left_of_gradient(net: Network, images: Tensor, objective: Objective) -> float:
    """The norm of the gradient after the first stage's first unit over that after its last: within a stage no shape
    changes."""
    _, gradients = forward_and_backward(net, images, objective)
    first = len(list(net.get_submodule(net.stages[0]).children()))
    found = norms(gradients[:first])
    return found[0] / found[-1]


def analyse(bench: Bench) -> Findings:
    """By kind and seed how far from a sum, and what faint weights leave of the gradient, by net and seed."""
    rows: list[dict[str, Any]] = []
    for kind, recipe in nets(bench.scale).items():
        for trained in bench.finished(recipe):
            images, labels = bench.images("test", IMAGES[bench.scale.name], trained.preprocessing())
            found = not_a_sum(trained.net().double(), images.double(), cross_entropy(labels))
            rows.append({"kind": kind, "model": recipe.model, "seed": trained.run.recipe.seed, **found})
    images, labels = bench.images("train", IMAGES[bench.scale.name])
    left = [
        {
            "model": model,
            "seed": seed,
            "left": left_of_gradient(faint(bench.fresh(model, seed)).double(), images.double(), cross_entropy(labels)),
        }
        for model in (SUMMED, PLAIN)
        for seed in bench.seeds
    ]
    return {"rows": rows, "faint": left}


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def worst(findings: Findings, kind: str, way: str) -> list[float]:
    """The largest difference from a sum, by seed."""
    return [max(max(stage) for stage in row[way] if stage) for row in findings["rows"] if row["kind"] == kind]


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    verdicts = []
    for way in ("forward", "backward"):
        found = worst(findings, "identity", way)
        exact, most = (max(found) <= EXACT, f"{max(found):.1e}") if found else (None, "unknown: the training diverged")
        verdicts.append(settle(claims[way], scale, exact, f"largest relative difference {most}"))
    found = worst(findings, "rectified", "forward")
    seen = every([value > BROKEN for value in found])
    verdicts.append(settle(claims["rectified"], scale, seen, f"relative difference {spread(found, 3)}"))
    kept, lost = ([row["left"] for row in findings["faint"] if row["model"] == model] for model in (SUMMED, PLAIN))
    seen = every([0.9 < a < 1.1 and b < FAINT for a, b in zip(kept, lost, strict=True)])
    words = f"over the first stage {SUMMED} keeps {spread(kept, 3)}, {PLAIN} {max(lost):.1e} at most"
    verdicts.append(settle(claims["faint"], scale, seen, words))
    return verdicts


def table(findings: Findings) -> Table:
    rows = [
        (
            row["model"],
            WORDS[row["kind"]],
            str(row["seed"]),
            *(f"{max(max(stage) for stage in row[way] if stage):.1e}" for way in ("forward", "backward")),
        )
        for row in findings["rows"]
    ]
    return Table(("net", "addition", "seed", "forward, from a sum", "backward, from a sum"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, way in zip(panels, ("forward", "backward"), strict=True):
        for kind, colour in COLOURS.items():
            for i, stages in enumerate(row[way] for row in findings["rows"] if row["kind"] == kind):
                for j, stage in enumerate(stages):
                    shown = [max(value, 1e-17) for value in stage]
                    label = WORDS[kind] if i == j == 0 else None
                    axes.semilogy(
                        range(1, len(shown) + 1), shown, "o-", color=colour, markersize=2.5, linewidth=1, label=label
                    )
        quieten(axes)
        axes.set_title({"forward": "Signals", "backward": "Gradients"}[way], fontsize=9)
        axes.set_xlabel("units passed")
    panels[0].set_ylabel("relative difference from the sum")
    panels[0].legend(frameon=False, fontsize=8)


def claims() -> Sequence[Claim]:
    exact = f"no relative difference above {EXACT:g} between any unit and the first or last of its stage, in float64"
    return (
        Claim(
            "forward",
            "With identity shortcuts and nothing after the addition, a deeper unit's signal is a shallower one's plus "
            "the outputs of the branches between.",
            "He 2016, equation 4",
            "an equation",
            exact,
            "A signal differs from the sum.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "backward",
            "And so with gradients: that at a shallower unit is the deeper one's plus what the branches give back.",
            "He 2016, equation 5",
            "an equation",
            exact,
            "A gradient differs from the sum.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "rectified",
            "In the units of 2015, which rectify the sum, it is no sum.",
            "He 2016, sec. 2",
            "words alone",
            f"in every seed some signal differs from the sum by more than {BROKEN:g} of its norm",
            "No signal of any seed differs from the sum by as much.",
            refuted_from="small",
        ),
        Claim(
            "faint",
            "The gradient does not vanish even when the weights are arbitrarily small; without shortcuts it does.",
            "He 2016, sec. 2",
            "words alone",
            f"weights times {FAINT:g}, one stage: a residual net keeps it to a tenth, a plain one less than {FAINT:g}",
            "The residual net's gradient vanishes, or the plain net's does not.",
            refuted_from="small",
        ),
    )


STUDY = Study(
    name="propagation",
    title="Signals are sums where nothing follows the addition",
    question="Does the signal of any unit reach any other?",
    claims=tuple(claims()),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(8.0, 3.4),
    reading=(
        "How far signals (left) and gradients (right) are from the paper's sums after so many units, a line for each "
        "stage and seed. Blue lies where rounding lies, zero drawn at 1e-17: it is a sum. Orange is the unit of 2015, "
        "which rectifies it."
    ),
    departures=(
        "The paper states the equations and measures neither.",
        "Sums are taken within a stage, where shapes stay.",
        "Faint weights are tried in untrained nets of 20 layers without batch normalisation, in the first stage.",
    ),
)
