"""Signal propagation through residual units as a sum of branches.

He 2016, sec. 2, equations 4 and 5.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_seeds, decide_verdict, format_mean_std
from skipway.study.probes.activations import (
    Objective,
    cross_entropy,
    forward_and_backward,
    forward_hooks,
    norms,
    units_of,
)
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT, BROKEN = 1e-9, 0.05  # of the signal's norm, in float64; a difference above BROKEN is not a sum
FAINT = 1e-3  # factor for small weights
# Without batch norm, which would undo the factor in a plain network. With the addition of He 2016, and without any.
SUMMED, PLAIN = "preresnet20_bare", "plain20_bare"
IMAGES = {"tiny": 4, "small": 32, "paper": 64}
QUARTER = 0.25  # of a full training run, for the network that no other study trains
COLOURS = {"identity": "#0072B2", "rectified": "#D55E00"}
LABELS = {"identity": "nothing after the addition (2016)", "rectified": "ReLU after the addition (2015)"}


def nets(scale: Scale) -> dict[str, Recipe]:
    """One network of each kind: with the units of 2016, and of 2015."""
    depth = 20 if scale.name == "tiny" else 56
    return {
        "identity": training(scale, f"preresnet{depth}", QUARTER),
        "rectified": training(scale, f"resnet{depth}"),
    }


def plan(scale: Scale) -> list[Recipe]:
    return list(nets(scale).values())


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def identity_units(net: Network, x: Tensor) -> list[list[tuple[nn.Module, Tensor]]]:
    """The units with identity shortcuts in each stage, each with its input."""
    inputs: dict[nn.Module, Tensor] = {}
    with forward_hooks(units_of(net), lambda unit, given, _: inputs.__setitem__(unit, given)):
        net(x)
    found: list[list[tuple[nn.Module, Tensor]]] = []
    for stage in net.stages:
        row = [(unit, inputs[unit]) for unit in net.get_submodule(stage).children()]
        found.append([(unit, given) for unit, given in row if unit.skip(given) is given])  # type: ignore[operator]
    return found


def relative_norm(difference: Tensor, whole: Tensor) -> float:
    return (difference.norm() / whole.norm()).item()


def sum_errors(net: Network, images: Tensor, objective: Objective) -> dict[str, list[list[float]]]:
    """The relative differences of signals and gradients from the sums of equations 4 and 5.

    forward: for each stage, after 1, 2, ... units from its first, x_L compared with x_l plus the branches' outputs;
    backward: from its last unit backwards, the gradient at x_l compared with the one at x_L plus the gradients through
    the branches.
    """
    outputs, gradients = forward_and_backward(net, images, objective)
    after = dict(zip(units_of(net), zip(outputs, gradients, strict=True), strict=True))
    forward, backward = [], []
    for row in identity_units(net, images):
        total, along = row[0][1].detach(), []
        for unit, given in row:
            total = total + unit.branch(given).detach()  # type: ignore[operator]
            along.append(relative_norm(after[unit][0] - total, after[unit][0]))
        forward.append(along)
        total, along = after[row[-1][0]][1], []
        for (unit, given), (before, _) in zip(row[:0:-1], row[-2::-1], strict=True):
            total = total + branch_gradient(unit, given, after[unit][1])
            along.append(relative_norm(after[before][1] - total, after[before][1]))
        backward.append(along)
    return {"forward": forward, "backward": backward}


def branch_gradient(unit: nn.Module, given: Tensor, gradient: Tensor) -> Tensor:
    """The gradient at a unit's input through its branch only."""
    leaf = given.detach().requires_grad_()
    with torch.enable_grad():
        out = unit.branch(leaf)  # type: ignore[operator]
    return torch.autograd.grad(out, leaf, gradient)[0]


def with_small_weights(net: Network) -> Network:
    """`net` with the weights of every unit's convolutions multiplied by FAINT."""
    for unit in units_of(net):
        for module in unit.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.data *= FAINT
    return net


def gradient_ratio(net: Network, images: Tensor, objective: Objective) -> float:
    """The norm of the gradient after the first stage's first unit divided by that after its last unit. Within a stage
    no shape changes."""
    _, gradients = forward_and_backward(net, images, objective)
    first = len(list(net.get_submodule(net.stages[0]).children()))
    found = norms(gradients[:first])
    return found[0] / found[-1]


def analyse(context: ExperimentContext) -> Findings:
    """The differences from a sum by kind and seed, and the gradient ratio with small weights by network and seed."""
    rows: list[dict[str, Any]] = []
    for kind, recipe in nets(context.scale).items():
        for trained in context.converged(recipe):
            images, labels = context.images("test", IMAGES[context.scale.name], trained.preprocessing())
            found = sum_errors(trained.net().double(), images.double(), cross_entropy(labels))
            rows.append({"kind": kind, "model": recipe.model, "seed": trained.run.recipe.seed, **found})
    images, labels = context.images("train", IMAGES[context.scale.name])
    left = [
        {
            "model": model,
            "seed": seed,
            "left": gradient_ratio(
                with_small_weights(context.untrained(model, seed)).double(), images.double(), cross_entropy(labels)
            ),
        }
        for model in (SUMMED, PLAIN)
        for seed in context.seeds
    ]
    return {"rows": rows, "faint": left}


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def worst(findings: Findings, kind: str, way: str) -> list[float]:
    """The largest difference from a sum, by seed."""
    return [max(max(stage) for stage in row[way] if stage) for row in findings["rows"] if row["kind"] == kind]


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    verdicts = []
    for way in ("forward", "backward"):
        found = worst(findings, "identity", way)
        exact, most = (max(found) <= EXACT, f"{max(found):.1e}") if found else (None, "unknown: the training diverged")
        verdicts.append(decide_verdict(claims[way], scale, exact, f"largest relative difference {most}"))
    found = worst(findings, "rectified", "forward")
    supported = all_seeds([value > BROKEN for value in found])
    verdicts.append(
        decide_verdict(claims["rectified"], scale, supported, f"relative difference {format_mean_std(found, 3)}")
    )
    kept, lost = ([row["left"] for row in findings["faint"] if row["model"] == model] for model in (SUMMED, PLAIN))
    supported = all_seeds([0.9 < a < 1.1 and b < FAINT for a, b in zip(kept, lost, strict=True)])
    words = f"gradient ratio over the first stage: {SUMMED} {format_mean_std(kept, 3)}, {PLAIN} at most {max(lost):.1e}"
    verdicts.append(decide_verdict(claims["faint"], scale, supported, words))
    return verdicts


def table(findings: Findings) -> Table:
    rows = [
        (
            row["model"],
            LABELS[row["kind"]],
            str(row["seed"]),
            *(f"{max(max(stage) for stage in row[way] if stage):.1e}" for way in ("forward", "backward")),
        )
        for row in findings["rows"]
    ]
    return Table(("network", "addition", "seed", "forward, difference", "backward, difference"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, way in zip(panels, ("forward", "backward"), strict=True):
        for kind, colour in COLOURS.items():
            for i, stages in enumerate(row[way] for row in findings["rows"] if row["kind"] == kind):
                for j, stage in enumerate(stages):
                    shown = [max(value, 1e-17) for value in stage]
                    label = LABELS[kind] if i == j == 0 else None
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
            "With identity shortcuts and nothing after the addition, the signal at a deeper unit is that at a "
            "shallower one plus the outputs of the branches between.",
            "He 2016, equation 4",
            "an equation",
            exact,
            "Some signal differs from the sum.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "backward",
            "The gradient at a shallower unit is that at a deeper one plus the gradients through the branches between.",
            "He 2016, equation 5",
            "an equation",
            exact,
            "Some gradient differs from the sum.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "rectified",
            "With the units of 2015, which apply ReLU after the addition, the signal is not such a sum.",
            "He 2016, sec. 2",
            "in the text only",
            f"in every seed some signal differs from the sum by more than {BROKEN:g} of its norm",
            "No signal of any seed differs from the sum by that much.",
            refuted_from="small",
        ),
        Claim(
            "faint",
            "With shortcuts the gradient does not vanish even if the weights are arbitrarily small; without them it "
            "does.",
            "He 2016, sec. 2",
            "in the text only",
            f"with weights times {FAINT:g}, the gradient over one stage changes by less than a tenth in a residual "
            f"network, and falls below {FAINT:g} in a plain one",
            "The residual network's gradient vanishes, or the plain network's does not.",
            refuted_from="small",
        ),
    )


STUDY = Study(
    name="propagation",
    title="Signals are sums if nothing follows the addition",
    question="Does the signal propagate directly from any unit to any other?",
    claims=tuple(claims()),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(8.0, 3.4),
    reading=(
        "Relative difference of signals (left) and gradients (right) from the paper's sums by number of units passed, "
        "a line for each stage and seed. Blue is at the level of rounding errors (zero is drawn at 1e-17), so it is a "
        "sum. Orange is the unit of 2015, with ReLU after the addition."
    ),
    departures=(
        "The paper states the equations without measurements.",
        "Sums are taken within a stage, where shapes do not change.",
        "Small weights are tested in untrained networks of 20 layers without batch normalisation, in the first stage.",
    ),
)
