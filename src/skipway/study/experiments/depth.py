"""Residual networks of 20 to more than 1000 layers.

He 2015, sec. 4.2, Table 6; He 2016, Tables 3 and 4.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from skipway.models.analysis.paper_results import CIFAR10, PUBLISHED
from skipway.reporting.svg import quieten
from skipway.study.engine.comparison import (
    COLUMNS,
    ERROR_NAMES,
    TEST_COLOUR,
    TRAIN_COLOUR,
    Runs,
    compare_errors,
    error_cells,
    errors_by_label,
    format_errors,
    is_lower,
    not_trained,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.study.engine.short_recipes import PIXELS, brief
from skipway.study.engine.verdicts import all_of, all_seeds, decide_verdict, mean
from skipway.study.probes.early_training import (
    LEARNT,
    FirstSteps,
    ShortTrainer,
    final_loss,
    format_losses,
    plot_first_steps,
)
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LADDER = (20, 32, 44, 56)
FULL_LENGTH: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("resnet56", "resnet20"),
    "small": ("resnet56", "resnet20"),  # the runs of `degradation`
    "paper": tuple(f"resnet{layers}" for layers in reversed(LADDER)),
}
WARMED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": (),
    "small": ("preresnet164", "resnet110", *(f"resnet{layers}" for layers in reversed(LADDER))),
    "paper": ("resnet1202", "preresnet1001", "resnet110", "preresnet164"),
}
LENGTH: dict[ScaleName, str] = {"tiny": "full", "small": "brief", "paper": "full, warm-up"}  # of runs with warm-up
STARTED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("resnet56",),
    "small": ("resnet1202", "preresnet1001"),
    "paper": ("resnet1202", "preresnet1001"),
}
STARTS: dict[ScaleName, FirstSteps] = {
    "tiny": FirstSteps(2, 8, 0),
    "small": FirstSteps(200, 32, PIXELS),
    "paper": FirstSteps(400, 128, 0),
}
RATE = 0.1
LEARNS = 80.0  # per cent training error, below which the paper raises the learning rate of 110 layers
TRAINED = 1.0  # per cent training error, below which a network fits the training images
STEP = 0.1  # points; smaller differences between neighbouring depths count as equal


def recipes(scale: Scale) -> dict[str, dict[str, Recipe]]:
    """The training runs by schedule and network, the longest first."""
    return {
        "warmed": {model: brief(scale, model) for model in WARMED[scale.name]},
        "full": {model: training(scale, model) for model in FULL_LENGTH[scale.name]},
    }


def plan(scale: Scale) -> list[Recipe]:
    return [recipe for nets in recipes(scale).values() for recipe in nets.values()]


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by schedule, network and seed; losses of the deepest networks' first steps."""
    scale = context.scale
    trainer = ShortTrainer(context, STARTS[scale.name])
    return {
        "nets": {how: errors_by_label(context, nets) for how, nets in recipes(scale).items()},
        "lengths": {"full": "full", "warmed": LENGTH[scale.name]},
        "starts": {
            "steps": trainer.start.steps,
            "words": trainer.start.summary(),
            "guessing": trainer.chance_loss(),
            "losses": {
                model: [trainer.losses(model, seed, RATE) for seed in context.seeds] for model in STARTED[scale.name]
            },
        },
    }


def layers_of(model: str) -> int:
    return PUBLISHED[model].depth


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    full, warmed = findings["nets"]["full"], findings["nets"]["warmed"]
    return [
        ladder(claims["training"], scale, full, "train"),
        ladder(claims["test"], scale, full, "test"),
        decide_errors(claims["converges"], scale, warmed, 110, "running", LEARNS),
        decide_starts(claims["beginning"], scale, findings["starts"]),
        decide_errors(claims["thousand"], scale, warmed, 1000, "train", TRAINED),
        compare_errors(claims["overfits"], scale, warmed, "resnet110", ["resnet1202"], ("test",)),
        compare_errors(claims["pre-activation"], scale, warmed, "preresnet1001", ["preresnet164"], ("test",)),
    ]


def ladder(claim: Claim, scale: Scale, nets: Mapping[str, Runs], key: str) -> Verdict:
    """Whether each network has a lower error than the next shallower one."""
    order = sorted(nets, key=layers_of)
    supported = all_of(*(is_lower(nets[deep], nets[shallow], (key,), STEP) for shallow, deep in pairwise(order)))
    return decide_verdict(claim, scale, supported, format_errors({model: nets[model] for model in order}, (key,)))


def decide_errors(claim: Claim, scale: Scale, nets: Mapping[str, Runs], least: int, key: str, limit: float) -> Verdict:
    """Whether the networks of at least `least` layers have errors below `limit` in every seed."""
    deep = {model: runs for model, runs in nets.items() if layers_of(model) >= least}
    if not deep:
        return not_trained(claim, scale)
    supported = all_of(*(all_seeds([error < limit for error in seed_values(runs, key)]) for runs in deep.values()))
    return decide_verdict(claim, scale, supported, format_errors(deep, (key,)))


def decide_starts(claim: Claim, scale: Scale, starts: Mapping[str, Any]) -> Verdict:
    """Whether each network of a thousand layers is better than chance after its first steps."""
    ends = {
        model: [final_loss(losses, starts["steps"]) for losses in found] for model, found in starts["losses"].items()
    }
    limit = starts["guessing"] - LEARNT
    supported = all_of(*(all_seeds([loss < limit for loss in found]) for found in ends.values()))
    if min(map(layers_of, ends)) < 1000:
        supported = None  # inconclusive for shallower networks
    words = ", ".join(f"{model} {format_losses(found)}" for model, found in ends.items())
    chance = f"chance level is {starts['guessing']:.2f}"
    return decide_verdict(claim, scale, supported, f"Loss in nats after the {starts['words']}: {words}; {chance}")


def published(model: str) -> str:
    """The paper's test error on CIFAR-10."""
    found = [r.top1 for r in PUBLISHED[model].results if r.test == CIFAR10]
    return f"{found[0]:.2f}" if found else "–"


def table(findings: Findings) -> Table:
    rows = [
        (model, str(layers_of(model)), findings["lengths"][how], *error_cells(nets[model]), published(model))
        for how, nets in findings["nets"].items()
        for model in sorted(nets, key=layers_of)
    ]
    return Table(("network", "layers", "training", *COLUMNS, "paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    for how, dash in (("full", "-"), ("warmed", ":")):
        by_depth(left, findings["nets"][how], findings["lengths"][how], dash)
    left.set_xscale("log")
    depths = sorted({layers_of(model) for nets in findings["nets"].values() for model in nets})
    quieten(left)
    left.set_xticks(depths, [str(layers) for layers in depths], rotation=45)
    left.set_xticks([], minor=True)
    left.set_xlabel("layers")
    left.set_ylabel("final error (%)")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=8)
    starts = findings["starts"]
    plot_first_steps(right, starts["losses"], starts["guessing"])
    right.set_title(starts["words"], fontsize=9)


def by_depth(axes: "Axes", nets: Mapping[str, Runs], length: str, dash: str) -> None:
    """Plot errors against depth: residual networks as lines through the means, pre-activation ones as hollow
    markers."""
    order = sorted((model for model in nets if not model.startswith("pre")), key=layers_of)
    for key, colour, mark in (("train", TRAIN_COLOUR, "o"), ("test", TEST_COLOUR, "s")):
        if order:
            means = [mean(seed_values(nets[model], key)) for model in order]
            label = f"{ERROR_NAMES[key].removeprefix('final ')}, {length}"
            axes.plot([layers_of(m) for m in order], means, mark + dash, color=colour, label=label)
        for model in sorted(set(nets) - set(order)):
            found = seed_values(nets[model], key)
            axes.plot([layers_of(model)] * len(found), found, mark, markerfacecolor="none", color=colour)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

LOWER = (
    "every seed of a deeper network is below every seed of the next shallower one, and the means differ by at least "
    f"{STEP} points"
)
STUDY = Study(
    name="depth",
    title="Depth of residual networks",
    question="Do residual networks keep improving with depth, and can a thousand layers be trained?",
    claims=(
        Claim(
            "training",
            "The training error falls with depth from 20 to 56 layers.",
            "He 2015, sec. 4.2, Fig. 6 (middle)",
            "training curves: each deeper network ends lower",
            LOWER,
            "Some deeper network has a higher training error than the next shallower one in every seed.",
        ),
        Claim(
            "test",
            "The test error falls with depth from 20 to 56 layers.",
            "He 2015, Table 6",
            "8.75 %, 7.51 %, 7.17 % and 6.97 % with 20, 32, 44 and 56 layers",
            LOWER,
            "Some deeper network has a higher test error than the next shallower one in every seed.",
        ),
        Claim(
            "converges",
            "Networks of more than a hundred layers learn.",
            "He 2015, sec. 4.2, Table 6; He 2016, Table 3",
            "Test errors: 6.43 % with 110 layers, 5.46 % with 164 and pre-activation",
            f"the running training error of every seed is below {LEARNS:.0f} %; this does not decide how well they "
            "learn",
            f"For some network the running training error of every seed is {LEARNS:.0f} % or more.",
        ),
        Claim(
            "beginning",
            "Networks of a thousand layers and more also start to learn.",
            "He 2015, sec. 4.2; He 2016, Fig. 1",
            "1202 layers, 1001 layers with pre-activation: training curves, no numbers for the first steps",
            f"after the first steps the loss of each network is at least {LEARNT} nats below chance in every seed",
            f"For some network no seed has a loss {LEARNT} nats below chance after the first steps.",
        ),
        Claim(
            "thousand",
            "Fully trained, networks of a thousand layers fit the training images.",
            "He 2015, sec. 4.2",
            "1202 layers: training error below 0.1 %",
            f"the training error of every seed is below {TRAINED:.0f} %",
            f"For some network the training error of every seed is {TRAINED:.0f} % or more.",
            shown_from="paper",
        ),
        Claim(
            "overfits",
            "1202 layers have a higher test error than 110: such a large network overfits such a small data set.",
            "He 2015, Table 6",
            "7.93 % with 1202 layers, 6.43 % with 110",
            "every seed of 1202 layers is above every seed of 110, and the means differ by at least 0.5 points",
            "1202 layers have the lower test error in every seed.",
            shown_from="paper",
        ),
        Claim(
            "pre-activation",
            "With pre-activation, 1001 layers are better than 164.",
            "He 2016, Table 3",
            "5.46 % with 164 layers, 4.92 % with 1001",
            "every seed of 1001 layers is below every seed of 164, and the means differ by at least 0.5 points",
            "1001 layers have the higher test error in every seed.",
            shown_from="paper",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(9.5, 3.6),
    reading=(
        "Left: errors against the number of layers; each marker is the mean of the seeds, pre-activation networks are "
        "hollow. Lines that fall to the right mean that depth helps. Brief runs only show whether deep networks "
        "learn: after so few steps a deep network is often behind. Right: the loss of networks of a thousand layers "
        "by step."
    ),
    departures=(
        "At scale small the networks of 20 and 56 layers are trained as long as in `degradation`, the others for a "
        "quarter of it on images of 16 pixels ('brief'), and networks of a thousand layers for their first steps only.",
        "The first steps use images without augmentation, below scale paper 32 per step and of 16 pixels, with a "
        "learning rate of 0.1 from the first step; for 110 layers the paper starts at 0.01.",
    ),
)
