"""Residual nets from 20 layers to more than a thousand (He 2015, sec. 4.2, Table 6; He 2016, Tables 3 and 4)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from skipway.evaluation.plots import quieten
from skipway.models.published import CIFAR10, PUBLISHED
from skipway.study.bench import Bench
from skipway.study.brief import PIXELS, brief
from skipway.study.contest import (
    COLUMNS,
    TEST_COLOUR,
    TRAIN_COLOUR,
    WORDS,
    Runs,
    below,
    cells,
    contest,
    described,
    outcomes,
    untrained,
    values,
)
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict, training
from skipway.study.starts import LEARNT, Beginner, Start, final, race, told
from skipway.study.verdicts import all_of, every, mean, settle
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LADDER = (20, 32, 44, 56)
FULL_LENGTH: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("resnet56", "resnet20"),
    "small": ("resnet56", "resnet20"),  # the trainings of `degradation`
    "paper": tuple(f"resnet{layers}" for layers in reversed(LADDER)),
}
WARMED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": (),
    "small": ("preresnet164", "resnet110", *(f"resnet{layers}" for layers in reversed(LADDER))),
    "paper": ("resnet1202", "preresnet1001", "resnet110", "preresnet164"),
}
LENGTH: dict[ScaleName, str] = {"tiny": "full", "small": "brief", "paper": "full, warm-up"}  # of what is warmed up
STARTED: dict[ScaleName, tuple[str, ...]] = {
    "tiny": ("resnet56",),
    "small": ("resnet1202", "preresnet1001"),
    "paper": ("resnet1202", "preresnet1001"),
}
STARTS: dict[ScaleName, Start] = {"tiny": Start(2, 8, 0), "small": Start(200, 32, PIXELS), "paper": Start(400, 128, 0)}
RATE = 0.1
LEARNS = 80.0  # per cent: what the paper waits for before it raises the rate of 110 layers
TRAINED = 1.0  # per cent of training error that count as no difficulty
STEP = 0.1  # points that set neighbours of the ladder apart


def recipes(scale: Scale) -> dict[str, dict[str, Recipe]]:
    """The trainings by how they are trained and by net, the longest first."""
    return {
        "warmed": {model: brief(scale, model) for model in WARMED[scale.name]},
        "full": {model: training(scale, model) for model in FULL_LENGTH[scale.name]},
    }


def plan(scale: Scale) -> list[Recipe]:
    return [recipe for nets in recipes(scale).values() for recipe in nets.values()]


def analyse(bench: Bench) -> Findings:
    """Errors by length of training, net and seed in per cent; losses of the first steps of the deepest nets."""
    scale = bench.scale
    beginner = Beginner(bench, STARTS[scale.name])
    return {
        "nets": {how: outcomes(bench, nets) for how, nets in recipes(scale).items()},
        "lengths": {"full": "full", "warmed": LENGTH[scale.name]},
        "starts": {
            "steps": beginner.start.steps,
            "words": beginner.start.words(),
            "guessing": beginner.guessing(),
            "losses": {
                model: [beginner.losses(model, seed, RATE) for seed in bench.seeds] for model in STARTED[scale.name]
            },
        },
    }


def layers_of(model: str) -> int:
    return PUBLISHED[model].depth


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    full, warmed = findings["nets"]["full"], findings["nets"]["warmed"]
    return [
        ladder(claims["training"], scale, full, "train"),
        ladder(claims["test"], scale, full, "test"),
        judge_errors(claims["converges"], scale, warmed, 110, "running", LEARNS),
        judge_starts(claims["beginning"], scale, findings["starts"]),
        judge_errors(claims["thousand"], scale, warmed, 1000, "train", TRAINED),
        contest(claims["overfits"], scale, warmed, "resnet110", ["resnet1202"], ("test",)),
        contest(claims["pre-activation"], scale, warmed, "preresnet1001", ["preresnet164"], ("test",)),
    ]


def ladder(claim: Claim, scale: Scale, nets: Mapping[str, Runs], key: str) -> Verdict:
    """Whether each net has a lower error than the next shallower one."""
    order = sorted(nets, key=layers_of)
    seen = all_of(*(below(nets[deep], nets[shallow], (key,), STEP) for shallow, deep in pairwise(order)))
    return settle(claim, scale, seen, described({model: nets[model] for model in order}, (key,)))


def judge_errors(claim: Claim, scale: Scale, nets: Mapping[str, Runs], least: int, key: str, limit: float) -> Verdict:
    """Whether the nets of at least `least` layers have errors below `limit` in every seed."""
    deep = {model: runs for model, runs in nets.items() if layers_of(model) >= least}
    if not deep:
        return untrained(claim, scale)
    seen = all_of(*(every([error < limit for error in values(runs, key)]) for runs in deep.values()))
    return settle(claim, scale, seen, described(deep, (key,)))


def judge_starts(claim: Claim, scale: Scale, starts: Mapping[str, Any]) -> Verdict:
    """Whether each net of a thousand layers is better than guessing after its first steps."""
    ends = {model: [final(losses, starts["steps"]) for losses in found] for model, found in starts["losses"].items()}
    limit = starts["guessing"] - LEARNT
    seen = all_of(*(every([loss < limit for loss in found]) for found in ends.values()))
    if min(map(layers_of, ends)) < 1000:
        seen = None  # shallower nets say nothing of a thousand layers
    words = ", ".join(f"{model} {told(found)}" for model, found in ends.items())
    guessing = f"guessing costs {starts['guessing']:.2f}"
    return settle(claim, scale, seen, f"Loss in nats after the {starts['words']}: {words}; {guessing}")


def published(model: str) -> str:
    """The paper's test error on CIFAR-10."""
    found = [r.top1 for r in PUBLISHED[model].results if r.test == CIFAR10]
    return f"{found[0]:.2f}" if found else "–"


def table(findings: Findings) -> Table:
    rows = [
        (model, str(layers_of(model)), findings["lengths"][how], *cells(nets[model]), published(model))
        for how, nets in findings["nets"].items()
        for model in sorted(nets, key=layers_of)
    ]
    return Table(("net", "layers", "training", *COLUMNS, "the paper's test error, %"), rows)


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
    left.set_ylabel("error at the end (%)")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=8)
    starts = findings["starts"]
    race(right, starts["losses"], starts["guessing"])
    right.set_title(starts["words"], fontsize=9)


def by_depth(axes: "Axes", nets: Mapping[str, Runs], length: str, dash: str) -> None:
    """Errors of the residual nets as lines through the means of the seeds, pre-activation nets as hollow marks."""
    order = sorted((model for model in nets if not model.startswith("pre")), key=layers_of)
    for key, colour, mark in (("train", TRAIN_COLOUR, "o"), ("test", TEST_COLOUR, "s")):
        if order:
            means = [mean(values(nets[model], key)) for model in order]
            label = f"{WORDS[key].removesuffix(' at the end')}, {length}"
            axes.plot([layers_of(m) for m in order], means, mark + dash, color=colour, label=label)
        for model in sorted(set(nets) - set(order)):
            found = values(nets[model], key)
            axes.plot([layers_of(model)] * len(found), found, mark, markerfacecolor="none", color=colour)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

LOWER = f"every seed of a deeper net is below every seed of the next shallower one, the means {STEP} points apart"
STUDY = Study(
    name="depth",
    title="How deep a residual net can be",
    question="Do residual nets keep improving with depth, and do they still train with a thousand layers?",
    claims=(
        Claim(
            "training",
            "From 20 to 56 layers the training error falls.",
            "He 2015, sec. 4.2, Fig. 6 (middle)",
            "A figure of training curves: each deeper net ends lower",
            LOWER,
            "In every seed a deeper net has the higher training error than a shallower one.",
        ),
        Claim(
            "test",
            "And so does the test error.",
            "He 2015, Table 6",
            "8.75 %, 7.51 %, 7.17 % and 6.97 % with 20, 32, 44 and 56 layers",
            LOWER,
            "In every seed a deeper net has the higher test error than a shallower one.",
        ),
        Claim(
            "converges",
            "Nets of more than a hundred layers learn.",
            "He 2015, sec. 4.2, Table 6; He 2016, Table 3",
            "Test errors: 6.43 % with 110 layers, 5.46 % with 164 and pre-activation",
            f"the running training error of every seed is below {LEARNS:.0f} %; how well they learn is not decided "
            "by it",
            f"Of a net, every seed's running training error is {LEARNS:.0f} % or more.",
        ),
        Claim(
            "beginning",
            "Nets of a thousand layers and more begin to learn as well.",
            "He 2015, sec. 4.2; He 2016, Fig. 1",
            "1202 layers, 1001 layers with pre-activation: training curves, no figures of their beginning",
            f"after the first steps the loss of each net is {LEARNT} nats or more below guessing in every seed",
            f"After the first steps no seed of a net has a loss {LEARNT} nats below guessing.",
        ),
        Claim(
            "thousand",
            "Trained to the end, they fit the training images.",
            "He 2015, sec. 4.2",
            "1202 layers: training error below 0.1 %",
            f"the training error of every seed is below {TRAINED:.0f} %",
            f"Of a net, every seed's training error is {TRAINED:.0f} % or more.",
            shown_from="paper",
        ),
        Claim(
            "overfits",
            "But 1202 layers have a higher test error than 110: so large a net overfits so small a data set.",
            "He 2015, Table 6",
            "7.93 % with 1202 layers, 6.43 % with 110",
            "every seed of 1202 layers is above every seed of 110, the means 0.5 points apart",
            "Every seed of 1202 layers has the lower test error.",
            shown_from="paper",
        ),
        Claim(
            "pre-activation",
            "With pre-activation 1001 layers are better than 164.",
            "He 2016, Table 3",
            "5.46 % with 164 layers, 4.92 % with 1001",
            "every seed of 1001 layers is below every seed of 164, the means 0.5 points apart",
            "Every seed of 1001 layers has the higher test error.",
            shown_from="paper",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(9.5, 3.6),
    reading=(
        "Left, errors against the number of layers, each mark the mean of the seeds and pre-activation nets "
        "hollow: lines that fall to the right say that depth helps. Brief trainings show only that deep nets "
        "learn: in so little time a deep net is often behind. Right, the loss of nets of a thousand layers, step "
        "by step."
    ),
    departures=(
        "At scale small the nets of 20 and 56 layers have the length of `degradation`. A quarter of it, on images of "
        "16 pixels, is all that the others get ('brief'). Nets of a thousand layers take their first steps only.",
        "The first steps see unaugmented images, below scale paper 32 a step and of 16 pixels, at a rate of 0.1 "
        "from the first, where for 110 layers the paper begins at 0.01.",
    ),
)
