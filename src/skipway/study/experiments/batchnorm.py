"""Convergence with and without batch normalisation.

Ioffe 2015; He 2015, secs. 1, 3.4 and 4.1.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict, no_training
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import PIXELS
from skipway.study.engine.verdicts import all_of, all_seeds, decide_verdict, format_mean_std, mean, separated
from skipway.study.probes.early_training import (
    LEARNT,
    FirstSteps,
    ShortTrainer,
    final_loss,
    format_losses,
    plot_losses,
    smoothed,
    steps_to,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("plain20", "resnet20"),
    "small": ("plain20", "resnet20", "plain56", "resnet56"),
    "paper": ("plain20", "resnet20", "plain56", "resnet56"),
}
RATES: dict[ScaleName, tuple[float, ...]] = {
    "tiny": (0.1, 0.01),
    "small": (1.0, 0.1, 0.01, 0.001),
    "paper": (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
}
STARTS: dict[ScaleName, FirstSteps] = {
    "tiny": FirstSteps(2, 8, 0),
    "small": FirstSteps(400, 32, PIXELS),
    "paper": FirstSteps(2000, 128, 0),
}
WITH, WITHOUT = "with", "without"
LABELS = {WITH: "with batch norm", WITHOUT: "without"}
CLEAR = 0.1  # nats; smaller differences count as equal
FEWER = 0.5  # of the steps
COLOURS = {WITH: "#0072B2", WITHOUT: "#D55E00"}


def analyse(context: ExperimentContext) -> Findings:
    """By network, with and without batch normalisation: the loss in nats after the first steps by rate and seed (None
    if non-finite), and the loss at every step for the best rate."""
    scale = context.scale
    trainer = ShortTrainer(context, STARTS[scale.name])
    nets = {
        model: {WITH: of_net(context, trainer, model), WITHOUT: of_net(context, trainer, f"{model}_bare")}
        for model in NETS[scale.name]
    }
    start = trainer.start
    return {
        "steps": start.steps,
        "words": start.summary(),
        "guessing": trainer.chance_loss(),
        "nets": nets,
    }


def of_net(context: ExperimentContext, trainer: ShortTrainer, model: str) -> dict[str, Any]:
    """The losses of a network at every rate. The best rate has the lowest mean loss."""
    steps = trainer.start.steps
    found = {rate: [trainer.losses(model, seed, rate) for seed in context.seeds] for rate in RATES[context.scale.name]}
    ends = {rate: [final_loss(losses, steps) for losses in seeds] for rate, seeds in found.items()}
    best = min(ends, key=lambda rate: mean(ends[rate]))
    return {
        "ends": {str(rate): [json_loss(loss) for loss in losses] for rate, losses in ends.items()},
        "best": best,
        "losses": found[best],
    }


def json_loss(loss: float) -> float | None:
    """`loss` as a JSON value: None if it is not finite."""
    return round(loss, 4) if math.isfinite(loss) else None


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def ends(net: Mapping[str, Any], rate: float) -> list[float]:
    """The losses after the first steps at `rate`, by seed; infinite if non-finite."""
    return [math.inf if loss is None else loss for loss in net["ends"][str(rate)]]


def highest(net: Mapping[str, Any], guessing: float) -> float:
    """The highest rate at which every seed learnt; 0 if there is none."""
    rates = [float(rate) for rate in net["ends"]]
    return max((rate for rate in rates if max(ends(net, rate)) < guessing - LEARNT), default=0.0)


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    return [
        decide_rates(claims["rates"], scale, findings),
        decide_loss(claims["loss"], scale, findings),
        decide_steps(claims["steps"], scale, findings),
    ]


def decide_rates(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether every network learns at a higher rate with normalisation than without."""
    guessing = findings["guessing"]
    rates = {model: [highest(net[key], guessing) for key in (WITH, WITHOUT)] for model, net in findings["nets"].items()}
    more = [None if high == low else high > low for high, low in rates.values()]
    if any(len(net[WITH]["losses"]) < 2 for net in findings["nets"].values()):
        more = [None]  # the spread of a single seed is unknown
    words = "; ".join(f"{model} {high:g} with, {low:g} without" for model, (high, low) in rates.items())
    return decide_verdict(claim, scale, all_of(*more), f"Highest rate at which the network learns, 0 for none: {words}")


def decide_loss(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether the loss after the same steps is lower with normalisation, each network at its best rate."""
    supported, words = [], []
    for model, net in findings["nets"].items():
        with_, without = (ends(net[key], net[key]["best"]) for key in (WITH, WITHOUT))
        supported.append(separated(with_, without, CLEAR))
        words.append(f"{model} {format_losses(with_)} with, {format_losses(without)} without")
    return decide_verdict(
        claim, scale, all_of(*supported), f"Loss in nats after the {findings['words']}: {'; '.join(words)}"
    )


def decide_steps(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether networks with batch norm reach the final loss of those without in less than half of the steps.

    A network that does not learn without is inconclusive, since every network starts at chance.
    """
    supported: list[bool | None] = []
    words = []
    for model, net in findings["nets"].items():
        if not highest(net[WITHOUT], findings["guessing"]):
            supported.append(None)
            words.append(f"{model} does not learn without")
            continue
        shares = share_of_steps(net, findings["steps"])
        supported.append(all_seeds([share < FEWER for share in shares]))
        words.append(f"{model} {format_mean_std([100 * share for share in shares], 0)}")
    text = f"Steps to the final loss without batch norm, in % of the steps: {'; '.join(words)}"
    return decide_verdict(claim, scale, all_of(*supported), text)


def share_of_steps(net: Mapping[str, Any], steps: int) -> list[float]:
    """By seed: the share of the steps after which the loss with batch norm is as low as the final one without; above 1
    if it never is."""
    target = mean(ends(net[WITHOUT], net[WITHOUT]["best"]))
    return [(steps_to(losses, target) or 2 * steps) / steps for losses in net[WITH]["losses"]]


def table(findings: Findings) -> Table:
    rates = list(next(iter(findings["nets"].values()))[WITH]["ends"])
    rows = [
        (model, key, *(format_losses(ends(net[key], float(rate))) for rate in rates))
        for model, net in findings["nets"].items()
        for key in (WITH, WITHOUT)
    ]
    return Table(("network", "batch normalisation", *(f"loss at rate {rate}" for rate in rates)), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    nets = findings["nets"]
    axes = figure.subplots(2, len(nets), sharey="row", squeeze=False)
    limits = 0.9 * lowest(nets), 1.3 * findings["guessing"]
    for column, (model, net) in enumerate(nets.items()):
        by_step, by_rate = axes[0][column], axes[1][column]
        for key in (WITH, WITHOUT):
            plot_losses(by_step, net[key]["losses"], COLOURS[key], f"{LABELS[key]}, rate {net[key]['best']:g}")
            sweep(by_rate, net[key], key)
        by_step.set_title(model, fontsize=9)
        by_step.set_ylim(limits)
        by_rate.set_ylim(limits)
        by_step.legend(frameon=False, fontsize=7)
        for panel in (by_step, by_rate):
            panel.axhline(findings["guessing"], color="#8a9099", linewidth=0.7, linestyle=":")
            panel.set_ylabel("training loss (nats)" if column == 0 else "")


def lowest(nets: Mapping[str, Any]) -> float:
    """The lowest loss of any line."""
    lines = (losses for net in nets.values() for key in (WITH, WITHOUT) for losses in net[key]["losses"] if losses)
    return min(min(smoothed(losses)) for losses in lines)


def sweep(axes: "Axes", net: Mapping[str, Any], key: str) -> None:
    """Plot the loss after the first steps against the learning rate; non-finite losses are left out."""
    rates = sorted(float(rate) for rate in net["ends"])
    finite = [rate for rate in rates if max(ends(net, rate)) < math.inf]
    axes.plot(finite, [mean(ends(net, rate)) for rate in finite], "o-", color=COLOURS[key], markersize=4)
    quieten(axes)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 2)
    axes.set_xlabel("learning rate")


# ---------------------------------------------------------------------------------------------------------------------
# Claims

IOFFE = "Ioffe 2015 (arXiv:1502.03167), abstract"
STUDY = Study(
    name="batchnorm",
    title="Convergence with and without batch normalisation",
    question="How does batch normalisation affect the training of plain and residual networks?",
    claims=(
        Claim(
            "rates",
            "With batch normalisation a network learns at higher learning rates.",
            IOFFE,
            "Inception, ImageNet: much higher rates; no number in the abstract",
            f"the highest tested rate at which a network learns (loss {LEARNT} nats below chance in every seed) is "
            "higher with normalisation, for every network",
            "Some network learns at a higher rate without normalisation.",
        ),
        Claim(
            "loss",
            "After the same number of steps its loss is lower, each network at its own best rate.",
            IOFFE,
            "Inception, ImageNet: the same accuracy in fewer steps",
            f"for every network, all seeds with normalisation have a lower loss than all seeds without, and the means "
            f"differ by at least {CLEAR} nats",
            "For some network, every seed without normalisation has the lower loss.",
        ),
        Claim(
            "steps",
            "It needs far fewer steps to reach the same loss.",
            IOFFE,
            "Inception, ImageNet: the same accuracy with 14 times fewer steps",
            f"every network learns without normalisation, and with it reaches that final loss in less than "
            f"{100 * FEWER:.0f} % of the steps",
            f"Some network needs {100 * FEWER:.0f} % of the steps or more, in every seed.",
        ),
    ),
    plan=no_training,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(10.0, 5.0),
    reading=(
        "Top: training loss by step, each network at its best learning rate. Bottom: loss after the last step against "
        "the learning rate. Lines are moving averages of ten steps. Blue is with batch normalisation, orange without; "
        "the dotted line is chance level, and losses far above it are cut off."
    ),
    departures=(
        "Only the first steps are trained, on images without augmentation, below scale paper of 16 pixels and 32 per "
        "step. Ioffe 2015 measures accuracy on ImageNet after millions of steps.",
        "The networks without batch normalisation are otherwise the same and use He's initialisation, which is "
        "designed for plain networks: in a residual network without normalisation the variance grows with every unit.",
    ),
)
