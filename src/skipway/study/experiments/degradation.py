"""Training of plain and residual networks of two depths: the degradation problem.

He 2015, secs. 1, 4.1 and 4.2; Figs. 1, 4 and 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from skipway.reporting.svg import quieten
from skipway.study.engine.comparison import (
    COLUMNS,
    LEAST,
    Runs,
    compare_errors,
    error_cells,
    errors_by_label,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.study.engine.short_recipes import PAD, PIXELS
from skipway.study.engine.verdicts import close_to, decide, difference, format_mean_std, mean
from skipway.study.experiments.degradation_claims import CIFAR_CLAIMS, IMAGENET_CLAIMS, NEAR, OVERTAKEN
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHALLOW, DEEP = "#0072B2", "#D55E00"
THIRD = "plain20, a third of the steps"  # the deep plain network is trained three times as long


@dataclass(frozen=True)
class Depths:
    """The networks compared: layers of the shallow and the deep one, suffix of their names, image size in pixels (0:
    that of the data) and multiple of the scale's length by scale, warm-up at a tenth of the rate as a share of
    the scale's iterations, the claims, and the paper's test errors in per cent by network."""

    shallow: int
    deep: int
    ending: str
    sizes: Mapping[ScaleName, int]
    lengths: Mapping[ScaleName, float]
    warmup: Mapping[ScaleName, float]
    claims: tuple[Claim, ...]
    published: Mapping[str, float]

    @property
    def shares(self) -> dict[str, float]:
        """The length of training relative to that of a full run, by label, the most expensive networks first."""
        nets = [f"{kind}{depth}" for depth in (self.deep, self.shallow) for kind in ("plain", "resnet")]
        longer = any(claim.name == "longer" for claim in self.claims)
        return dict.fromkeys(nets, 1.0) | ({THIRD: 1 / 3} if longer else {})


CIFAR = Depths(
    *(20, 56, ""),
    sizes={"small": PIXELS},
    lengths={"small": 4.0},
    warmup={"small": 400 / 4_000},
    claims=CIFAR_CLAIMS,
    published={"resnet20": 8.75, "resnet56": 6.97},
)
AT_64_PIXELS = Depths(
    *(18, 34, "_imagenet"),
    sizes={"tiny": 32, "small": 64, "paper": 64},
    lengths={"small": 1 / 4},
    warmup={},
    claims=IMAGENET_CLAIMS,
    published={},
)


def plan(depths: Depths, scale: Scale) -> list[Recipe]:
    """One training run of each network, and a short one of the shallow plain network."""
    return list(trainings(depths, scale).values())


def trainings(depths: Depths, scale: Scale) -> dict[str, Recipe]:
    """The training recipes by label."""
    whole = depths.lengths.get(scale.name, 1.0)
    return {label: recipe(depths, scale, label, share * whole) for label, share in depths.shares.items()}


def recipe(depths: Depths, scale: Scale, label: str, share: float) -> Recipe:
    """The training recipe of a label, for `share` of the scale's length."""
    made = training(scale, f"{label.split(',')[0]}{depths.ending}", share)
    made = replace(made, size=depths.sizes.get(scale.name, 0))
    if scale.name not in depths.warmup:
        return made
    warmed = depths.warmup[scale.name] / share  # the same steps in every run of a scale that is not cut
    return replace(made, pad=PAD, milestones=(warmed, 0.5, 0.75), factors=(0.1, 1.0, 0.1, 0.01))


def analyse(depths: Depths, context: ExperimentContext) -> Findings:
    """By network and seed: running training error by step, and final errors, in per cent."""
    return dict(errors_by_label(context, trainings(depths, context.scale)))


def decide_claims(depths: Depths, claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    plain, residual = ([f"{kind}{depth}" for depth in (depths.shallow, depths.deep)] for kind in ("plain", "resnet"))

    def compare(claim: str, lower: str, higher: str, keys: Sequence[str]) -> Verdict:
        return compare_errors(claims[claim], steps, findings, lower, [higher], keys)

    found = {
        "plain-training": compare("plain-training", plain[0], plain[1], ("running", "train")),
        "plain-test": compare("plain-test", plain[0], plain[1], ("test",)),
        "residual-training": compare("residual-training", residual[1], residual[0], ("running", "train")),
        "residual-test": compare("residual-test", residual[1], residual[0], ("test",)),
    }
    if "longer" in claims:
        found["longer"] = compare("longer", THIRD, plain[1], ("running", "train"))
    if "published" in claims:
        found["published"] = near_published(depths, claims["published"], steps, findings)
    if "convergence" in claims:
        found["convergence"] = compare_convergence(claims["convergence"], steps, findings, residual[0], plain[0])
    return [found[name] for name in claims]


def compare_convergence(claim: Claim, steps: int, findings: Findings, faster: str, slower: str) -> Verdict:
    """The verdict on the claim that `faster` has the lower training error in the first half of training."""
    early = {net: [early_error(run) for run in findings[net]] for net in (faster, slower)}
    what = f"training error in the first half, {slower} - {faster}"
    effect = difference(early[faster], early[slower], what, LEAST, "points")
    words = ", ".join(f"{net} {format_mean_std(values, unit=' %')}" for net, values in early.items())
    return decide(claim, steps, [effect], f"running training error, mean of the epochs of the first half: {words}")


def early_error(run: Mapping[str, Any]) -> float:
    """The running training error in per cent, averaged over the epochs that end in the first half of training (at least
    one). A diverged run counts as chance."""
    if run["diverged"] or not run["curve"]:
        return float(run["train"])
    half = run["curve"][-1][0] / 2
    return mean([error for step, error in run["curve"] if step <= half] or [run["curve"][0][1]])


def near_published(depths: Depths, claim: Claim, steps: int, findings: Findings) -> Verdict:
    """The verdict on the paper's own figures."""
    measured = {model: seed_values(findings[model], "test") for model in depths.published}
    effects = [
        close_to(error, measured[model], f"{model} - {error} %", NEAR, "points")
        for model, error in depths.published.items()
    ]
    words = ", ".join(f"{model} {format_mean_std(measured[model], unit=' %')}" for model in depths.published)
    return decide(claim, steps, effects, words)


def table(depths: Depths, findings: Findings) -> Table:
    rows = [
        (
            model,
            *error_cells(findings[model]),
            f"{depths.published[model]:.2f}" if model in depths.published else "–",
        )
        for model in sorted(findings, key=lambda name: (name.rstrip("0123456789"), len(name), name))
    ]
    return Table(("network", *COLUMNS, "paper's test error, %"), rows)


def draw(depths: Depths, findings: Findings, figure: "Figure") -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    pairs = {f"plain{depths.deep}": DEEP, f"plain{depths.shallow}": SHALLOW, THIRD: SHALLOW}
    panel(
        upper,
        {net: (findings[net], colour) for net, colour in pairs.items() if net in findings},
        "Plain: line training, square test",
    )
    pairs = {f"resnet{depths.deep}": DEEP, f"resnet{depths.shallow}": SHALLOW}
    panel(lower, {net: (findings[net], colour) for net, colour in pairs.items()}, "Residual")
    lower.set_xlabel("step")
    lower.set_ylim(bottom=0)


def panel(axes: "Axes", nets: Mapping[str, tuple[Runs, str]], title: str) -> None:
    """Plot networks: the running training error as a line for each seed, final test errors as squares after the last
    step. A network trained for a third of the steps is dashed, with hollow squares."""
    for net, (runs, colour) in nets.items():
        dash, face = ("--", "none") if net == THIRD else ("-", colour)
        for i, run in enumerate(runs):
            if run["curve"]:
                steps, errors = zip(*run["curve"], strict=True)
                axes.plot(steps, errors, dash, color=colour, linewidth=1.3, label=None if i else net)
        last = max((run["curve"][-1][0] for run in runs if run["curve"]), default=1)
        ends = seed_values(runs, "test")
        axes.plot([1.03 * last] * len(ends), ends, "s", color=colour, markerfacecolor=face, markersize=5)
    quieten(axes)
    axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    axes.set_ylabel("error (%)")
    axes.legend(frameon=False, fontsize=8.5)


def study(
    name: str,
    title: str,
    question: str,
    depths: Depths,
    departures: tuple[str, ...],
    changed: tuple[str, ...] = (),
) -> Study:
    return Study(
        name=name,
        title=title,
        question=question,
        claims=depths.claims,
        plan=partial(plan, depths),
        analyse=partial(analyse, depths),
        decide_claims=partial(decide_claims, depths),
        table=partial(table, depths),
        draw=partial(draw, depths),
        size=(4.8, 6.4),
        reading=(
            "Each line is the running training error of one seed, each square its final test error. Blue is the "
            "shallow network, orange the deep one. In the paper orange ends above blue without shortcuts, at the top, "
            "and below it with them."
            + (" The dashed line is plain20 in a third of the steps." if THIRD in depths.shares else "")
        ),
        departures=departures,
        changed=changed,
    )


STUDY = study(
    "degradation",
    "Deeper plain networks train worse",
    "Does a deeper network train better?",
    CIFAR,
    (
        "Pixels are normalised by the mean and standard deviation of their channel; the paper subtracts the mean of "
        "each pixel position.",
        "The paper plots test error during training; here test images are evaluated once, at the end.",
        "Below scale paper there are fewer than 64,000 iterations; the learning rate drops at the same fractions. At "
        "scale small images have 16 x 16 pixels, and the first 400 iterations are at a tenth of the rate.",
        "For three times as many iterations the paper trains longer; here the network of 20 layers is trained again, "
        "for a third of the iterations.",
    ),
    (
        "A first run at scale small, of 4,000 iterations with 32 x 32 pixels and two seeds, had resnet56 2 to 3 points "
        "above resnet20, by less from epoch to epoch. Scale small was then made four times as long, at a quarter of "
        f"the pixels, with a lower rate in the first 400 iterations, and the claims on residual networks need "
        f"{OVERTAKEN:,} iterations.",
    ),
)
AT_64 = study(
    "degradation64",
    "Deeper plain networks train worse, at 64 pixels",
    "Does a deeper network train better on larger images?",
    AT_64_PIXELS,
    (
        "The paper trains 18 and 34 layers on ImageNet at 224 pixels; here any data set is used at 64 pixels, so the "
        "last feature map is 2 x 2.",
        "The recipe is the paper's for CIFAR; scale small trains for a quarter of its length.",
    ),
    (
        "The claim on convergence was added after a first run with one seed, in which the plain network of 18 layers "
        "was ahead of the residual one.",
    ),
)
