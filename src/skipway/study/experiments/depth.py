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
    error_effects,
    errors_by_label,
    format_errors,
    not_trained,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.study.engine.short_recipes import full_length
from skipway.study.engine.verdicts import FEWEST_SEEDS, below, decide, mean
from skipway.study.experiments import degradation
from skipway.study.experiments.depth_claims import CHANGED, CLAIMS, DEPARTURES, LEARNS, STEP, THOUSAND, TRAINED
from skipway.study.probes.early_training import (
    DEEP_STARTS,
    LEARNT,
    ShortTrainer,
    end_losses,
    final_loss,
    format_losses,
    plot_first_steps,
)
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LADDER = ("resnet20", "resnet32", "resnet44", "resnet56")
WARMED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": (),
    "small": ("preresnet164", "resnet110", "resnet56", "preresnet32", "resnet32"),
    "paper": ("resnet1202", "preresnet1001", "resnet110", "preresnet164"),
}
STARTED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("resnet56",),
    "small": ("resnet1202", "preresnet1001"),
    "paper": ("resnet1202", "preresnet1001"),
}
SHARE = 1 / 2  # of the scale's length, of networks with warm-up at scale small
RATE = 0.1


def recipes(scale: Scale) -> dict[str, dict[str, Recipe]]:
    """The training runs by schedule and network, the longest first. "full" are residual networks of at most 56 layers,
    of which `degradation` trains those of 20 and 56; "warmed" have a warm-up."""
    if scale.name == "paper":
        full = {model: training(scale, model) for model in reversed(LADDER)}
    else:
        shared = degradation.trainings(degradation.CIFAR, scale)
        full = {model: shared[model] for model in (LADDER[-1], LADDER[0])}
    return {"warmed": {model: full_length(scale, model, SHARE) for model in WARMED[scale.name]}, "full": full}


def plan(scale: Scale) -> list[Recipe]:
    return [recipe for nets in recipes(scale).values() for recipe in nets.values()]


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by schedule, network and seed, and their steps of training; losses of the deepest networks'
    first steps, of at most three seeds."""
    scale = context.scale
    trainer, plans = ShortTrainer(context, DEEP_STARTS[scale.name]), recipes(scale)
    return {
        "nets": {how: errors_by_label(context, nets) for how, nets in plans.items()},
        "lengths": {
            how: max((recipe.iterations for recipe in nets.values()), default=0) for how, nets in plans.items()
        },
        "starts": {
            "steps": trainer.start.steps,
            "warmup": trainer.start.warmup,
            "words": trainer.start.summary(),
            "guessing": trainer.chance_loss(),
            "losses": {
                model: [trainer.losses(model, seed, RATE) for seed in context.seeds[:FEWEST_SEEDS]]
                for model in STARTED[scale.name]
            },
        },
    }


def layers_of(model: str) -> int:
    return PUBLISHED[model].depth


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    full, warmed = findings["nets"]["full"], findings["nets"]["warmed"]
    lengths = {how: length_in_steps(length, steps) for how, length in findings["lengths"].items()}
    return [
        ladder(claims["training"], lengths["full"], full, "train"),
        ladder(claims["test"], lengths["full"], full, "test"),
        decide_errors(claims["converges"], lengths["warmed"], warmed, 100, "running", LEARNS),
        compare_errors(claims["deep"], lengths["warmed"], warmed, "preresnet164", ["resnet110"], ("test",)),
        decide_starts(claims["beginning"], findings["starts"]),
        decide_errors(claims["thousand"], lengths["warmed"], warmed, THOUSAND, "train", TRAINED),
        compare_errors(claims["overfits"], lengths["warmed"], warmed, "resnet110", ["resnet1202"], ("test",)),
        compare_errors(
            claims["pre-activation"], lengths["warmed"], warmed, "preresnet1001", ["preresnet164"], ("test",)
        ),
    ]


def length_in_steps(length: int | str, longest: int) -> int:
    """A length of training as stored; earlier results have words, of which "brief" is a quarter of the longest run."""
    if isinstance(length, int):
        return length
    return longest // 4 if length == "brief" else longest


def ladder(claim: Claim, steps: int, nets: Mapping[str, Runs], key: str) -> Verdict:
    """Whether each network has a lower error than the next shallower one."""
    if not set(LADDER) <= set(nets):
        return not_trained(claim)
    effects = [
        effect
        for shallow, deep in pairwise(LADDER)
        for effect in error_effects(nets[deep], nets[shallow], (key,), (deep, shallow), STEP)
    ]
    return decide(claim, steps, effects, format_errors({model: nets[model] for model in LADDER}, (key,)))


def decide_errors(claim: Claim, steps: int, nets: Mapping[str, Runs], least: int, key: str, limit: float) -> Verdict:
    """Whether the networks of at least `least` layers have errors below `limit`."""
    deep = {model: runs for model, runs in nets.items() if layers_of(model) >= least}
    if not deep:
        return not_trained(claim)
    effects = [
        below(limit, seed_values(runs, key), f"{ERROR_NAMES[key]}, {limit:g} % - {model}", unit="points")
        for model, runs in deep.items()
    ]
    return decide(claim, steps, effects, format_errors(deep, (key,)))


def decide_starts(claim: Claim, starts: Mapping[str, Any]) -> Verdict:
    """Whether each network of a thousand layers is better than chance after its first steps."""
    chance, steps = starts["guessing"], starts["steps"]
    limit = chance - LEARNT
    effects = [
        below(limit, end_losses(found, steps, chance), f"loss, {limit:.2f} - {model}", unit="nats")
        for model, found in starts["losses"].items()
    ]
    shortfall = "" if min(map(layers_of, starts["losses"])) >= THOUSAND else "measured with fewer layers"
    words = ", ".join(
        f"{model} {format_losses([final_loss(losses, steps) for losses in found])}"
        for model, found in starts["losses"].items()
    )
    measured = f"Loss in nats after the {starts['words']}: {words}; chance level is {chance:.2f}"
    return decide(claim, steps, effects, measured, shortfall)


def published(model: str) -> str:
    """The paper's test error on CIFAR-10."""
    found = [r.top1 for r in PUBLISHED[model].results if r.test == CIFAR10]
    return f"{found[0]:.2f}" if found else "–"


def table(findings: Findings) -> Table:
    rows = [
        (model, str(layers_of(model)), length_text(findings, how), *error_cells(nets[model]), published(model))
        for how, nets in findings["nets"].items()
        for model in sorted(nets, key=layers_of)
    ]
    return Table(("network", "layers", "steps", *COLUMNS, "paper's test error, %"), rows)


def length_text(findings: Findings, how: str) -> str:
    """The steps of training as text; in earlier results a word."""
    length = findings["lengths"][how]
    return f"{length:,}" if isinstance(length, int) else str(length)


def draw(findings: Findings, figure: "Figure") -> None:
    shown = {how: nets for how, nets in findings["nets"].items() if nets}
    axes = figure.subplots(len(shown) + 1, 1)
    for panel, (how, nets) in zip(axes, shown.items(), strict=False):
        by_depth(panel, nets)
        unit = " steps" if isinstance(findings["lengths"][how], int) else " training runs"
        panel.set_title(f"{length_text(findings, how)}{unit}", fontsize=9, loc="left")
    starts = findings["starts"]
    plot_first_steps(axes[-1], starts["losses"], starts["guessing"], starts.get("warmup", 0))
    axes[-1].set_title(starts["words"], fontsize=9, loc="left")


def by_depth(axes: "Axes", nets: Mapping[str, Runs]) -> None:
    """Plot errors against depth, a marker for each seed and lines through the means: filled markers and solid lines for
    the original order, hollow ones and dashed lines for pre-activation."""
    orders = {
        "original": [model for model in nets if not model.startswith("pre")],
        "pre-activation": [model for model in nets if model.startswith("pre")],
    }
    for key, colour, mark in (("train", TRAIN_COLOUR, "o"), ("test", TEST_COLOUR, "s")):
        for name, models in orders.items():
            order = sorted(models, key=layers_of)
            values = {layers_of(model): seed_values(nets[model], key) for model in order}
            fill, dash = (colour, "-") if name == "original" else ("none", "--")
            axes.plot(list(values), [mean(found) for found in values.values()], dash, color=colour, linewidth=1.2)
            points = [(layers, error) for layers, found in values.items() for error in found]
            if points:
                label = f"{ERROR_NAMES[key].removeprefix('final ')}, {name}"
                places, errors = zip(*points, strict=True)
                axes.plot(places, errors, mark, color=colour, markerfacecolor=fill, markersize=5, label=label)
    quieten(axes)
    axes.set_xscale("log")
    depths = sorted({layers_of(model) for model in nets})
    axes.set_xticks(depths, [str(layers) for layers in depths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("layers")
    axes.set_ylabel("final error (%)")
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=8)


STUDY = Study(
    name="depth",
    title="Depth of residual networks",
    question="Do residual networks keep improving with depth, and can a thousand layers be trained?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.6, 8.0),
    reading=(
        "Upper panels, one for each length of training: errors against the number of layers, a marker for each seed "
        "and lines through the means, hollow and dashed for pre-activation. Lines that fall to the right mean that "
        "depth helps; after short training a deep network is often behind. Last panel: the loss of networks of a "
        "thousand layers by step, on a logarithmic scale."
    ),
    departures=DEPARTURES,
    changed=CHANGED,
)
