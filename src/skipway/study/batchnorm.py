"""Convergence with and without batch normalisation (Ioffe 2015; He 2015, secs. 1, 3.4 and 4.1)."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skipway.evaluation.plots import quieten
from skipway.study.bench import Bench
from skipway.study.brief import PIXELS
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict, no_training
from skipway.study.starts import LEARNT, Beginner, Start, curves, final, smoothed, steps_to, told
from skipway.study.verdicts import all_of, apart, every, mean, settle, spread

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
STARTS: dict[ScaleName, Start] = {"tiny": Start(2, 8, 0), "small": Start(400, 32, PIXELS), "paper": Start(2000, 128, 0)}
WITH, WITHOUT = "with", "without"
LABELS = {WITH: "with batch norm", WITHOUT: "without"}
CLEAR = 0.1  # nats; a smaller difference counts as none
FEWER = 0.5  # of the steps
COLOURS = {WITH: "#0072B2", WITHOUT: "#D55E00"}


def analyse(bench: Bench) -> Findings:
    """By net, with and without: the loss after the first steps by rate and seed, in nats (None where it was not a
    number), and every step's at the best rate."""
    scale = bench.scale
    beginner = Beginner(bench, STARTS[scale.name])
    nets = {
        model: {WITH: of_net(bench, beginner, model), WITHOUT: of_net(bench, beginner, f"{model}_bare")}
        for model in NETS[scale.name]
    }
    start = beginner.start
    return {
        "steps": start.steps,
        "words": start.words(),
        "guessing": beginner.guessing(),
        "nets": nets,
    }


def of_net(bench: Bench, beginner: Beginner, model: str) -> dict[str, Any]:
    """What a net does at every rate. The best is that of the lowest mean."""
    steps = beginner.start.steps
    found = {rate: [beginner.losses(model, seed, rate) for seed in bench.seeds] for rate in RATES[bench.scale.name]}
    ends = {rate: [final(losses, steps) for losses in seeds] for rate, seeds in found.items()}
    best = min(ends, key=lambda rate: mean(ends[rate]))
    return {
        "ends": {str(rate): [known(loss) for loss in losses] for rate, losses in ends.items()},
        "best": best,
        "losses": found[best],
    }


def known(loss: float) -> float | None:
    """`loss` as JSON can hold it."""
    return round(loss, 4) if math.isfinite(loss) else None


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def ends(net: Mapping[str, Any], rate: float) -> list[float]:
    """The losses after the first steps at `rate`, by seed; infinite where they were not a number."""
    return [math.inf if loss is None else loss for loss in net["ends"][str(rate)]]


def highest(net: Mapping[str, Any], guessing: float) -> float:
    """The highest rate at which every seed learnt; 0 for none."""
    rates = [float(rate) for rate in net["ends"]]
    return max((rate for rate in rates if max(ends(net, rate)) < guessing - LEARNT), default=0.0)


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    return [
        judge_rates(claims["rates"], scale, findings),
        judge_loss(claims["loss"], scale, findings),
        judge_steps(claims["steps"], scale, findings),
    ]


def judge_rates(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether every net learns at a higher rate with normalisation than without."""
    guessing = findings["guessing"]
    rates = {model: [highest(net[key], guessing) for key in (WITH, WITHOUT)] for model, net in findings["nets"].items()}
    more = [None if high == low else high > low for high, low in rates.values()]
    if any(len(net[WITH]["losses"]) < 2 for net in findings["nets"].values()):
        more = [None]  # the spread of a single seed nobody knows
    words = "; ".join(f"{model} {high:g} with, {low:g} without" for model, (high, low) in rates.items())
    return settle(claim, scale, all_of(*more), f"Highest rate at which a net learns, 0 for none: {words}")


def judge_loss(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether the loss after the same steps is lower with normalisation, each net at its best rate."""
    seen, words = [], []
    for model, net in findings["nets"].items():
        with_, without = (ends(net[key], net[key]["best"]) for key in (WITH, WITHOUT))
        seen.append(apart(with_, without, CLEAR))
        words.append(f"{model} {told(with_)} with, {told(without)} without")
    return settle(claim, scale, all_of(*seen), f"Loss in nats after the {findings['words']}: {'; '.join(words)}")


def judge_steps(claim: Claim, scale: Scale, findings: Findings) -> Verdict:
    """Whether normalised nets reach the others' last loss in less than half of the steps. A bare net that has learnt
    nothing says nothing: where guessing is, every net has been."""
    seen: list[bool | None] = []
    words = []
    for model, net in findings["nets"].items():
        if not highest(net[WITHOUT], findings["guessing"]):
            seen.append(None)
            words.append(f"{model} learns nothing without")
            continue
        shares = share_of_steps(net, findings["steps"])
        seen.append(every([share < FEWER for share in shares]))
        words.append(f"{model} {spread([100 * share for share in shares], 0)}")
    text = f"Steps to the loss at which the bare net ends, in % of its steps: {'; '.join(words)}"
    return settle(claim, scale, all_of(*seen), text)


def share_of_steps(net: Mapping[str, Any], steps: int) -> list[float]:
    """By seed: after which share of the steps the normalised net is where the bare one ends; above 1 for never."""
    target = mean(ends(net[WITHOUT], net[WITHOUT]["best"]))
    return [(steps_to(losses, target) or 2 * steps) / steps for losses in net[WITH]["losses"]]


def table(findings: Findings) -> Table:
    rates = list(next(iter(findings["nets"].values()))[WITH]["ends"])
    rows = [
        (model, key, *(told(ends(net[key], float(rate))) for rate in rates))
        for model, net in findings["nets"].items()
        for key in (WITH, WITHOUT)
    ]
    return Table(("net", "batch normalisation", *(f"loss at rate {rate}" for rate in rates)), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    nets = findings["nets"]
    axes = figure.subplots(2, len(nets), sharey="row", squeeze=False)
    limits = 0.9 * lowest(nets), 1.3 * findings["guessing"]
    for column, (model, net) in enumerate(nets.items()):
        by_step, by_rate = axes[0][column], axes[1][column]
        for key in (WITH, WITHOUT):
            curves(by_step, net[key]["losses"], COLOURS[key], f"{LABELS[key]}, rate {net[key]['best']:g}")
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
    """The loss after the first steps against the rate; where it is no number, nothing."""
    rates = sorted(float(rate) for rate in net["ends"])
    finite = [rate for rate in rates if max(ends(net, rate)) < math.inf]
    axes.plot(finite, [mean(ends(net, rate)) for rate in finite], "o-", color=COLOURS[key], markersize=4)
    quieten(axes)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 2)
    axes.set_xlabel("rate")


# ---------------------------------------------------------------------------------------------------------------------
# Claims

IOFFE = "Ioffe 2015 (arXiv:1502.03167), abstract"
STUDY = Study(
    name="batchnorm",
    title="Convergence with and without batch normalisation",
    question="What does batch normalisation do for the training of plain and of residual nets?",
    claims=(
        Claim(
            "rates",
            "A normalised net learns at higher rates.",
            IOFFE,
            "Inception, ImageNet: much higher rates; no figure in the abstract",
            f"the highest rate of those tried at which a net learns (its loss is {LEARNT} nats below guessing in every "
            "seed) is higher with normalisation, for every net",
            "A net learns at a higher rate without normalisation.",
        ),
        Claim(
            "loss",
            "After the same number of steps its loss is lower, each net at its own best rate.",
            IOFFE,
            "Inception, ImageNet: the same accuracy in fewer steps",
            f"of every net, each seed with normalisation is below each one without, the means {CLEAR} nats apart",
            "Of a net, every seed without normalisation has the lower loss.",
        ),
        Claim(
            "steps",
            "It needs far fewer steps to the same loss.",
            IOFFE,
            "Inception, ImageNet: the same accuracy with 14 times fewer steps",
            f"every net learns without, and with it is after {100 * FEWER:.0f} % of the steps where it ended",
            f"A net needs {100 * FEWER:.0f} % of the steps or more, in every seed.",
        ),
    ),
    plan=no_training,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(10.0, 5.0),
    reading=(
        "Above, the training loss step by step, each net at the best of the rates tried; below, the loss after the "
        "last of these steps against the rate. Lines are means of ten steps. Blue is with batch normalisation, orange "
        "without; the dotted line is guessing, and what lies far above it is cut off."
    ),
    departures=(
        "Only the first steps are trained, on unaugmented images, below scale paper of 16 pixels and 32 a step. "
        "Ioffe 2015 measures accuracy on ImageNet after millions of steps.",
        "The bare nets are the same with normalisation left out, and keep He's initialisation, which is made for "
        "plain nets: in a bare residual net the variance grows with every unit.",
    ),
)
