"""Stochastic depth, squeeze-and-excitation, width and dropout.

Huang 2016 (arXiv:1603.09382), Hu 2018 (arXiv:1709.01507) and Zagoruyko 2016 (arXiv:1605.07146).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from skipway.models.analysis.trace import layers
from skipway.reporting.svg import quieten
from skipway.study.engine.code_hash import code_of
from skipway.study.engine.comparison import (
    COLUMNS,
    LEAST,
    Runs,
    compare_errors,
    error_cells,
    errors_by_label,
    plot_errors,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import CheckResult, Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import full_length
from skipway.study.engine.verdicts import above, decide, difference, format_mean_std, mean
from skipway.study.experiments.regularisers_claims import CHEAP, CHECKS, CLAIMS, FASTER
from skipway.study.probes.timing import relative_times
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = {  # the networks by what they are in the claims
    "thin": "preresnet56",
    "excited": "seresnet32",
    "stochastic": "resnet32",
    "residual": "resnet32",
    "wide": "wrn16_2",
    "dropout": "wrn16_2_dropout",
}
PAPERS = {
    "thin": "preresnet1001",
    "excited": "seresnet110",
    "stochastic": "resnet110",
    "residual": "resnet110",
    "wide": "wrn40_4",
    "dropout": "wrn40_4_dropout",
}
NETWORKS: dict[ScaleName, dict[str, str]] = {"tiny": SMALL, "small": SMALL, "paper": PAPERS}
SURVIVAL = 0.5  # of the last unit, decreasing linearly from 1 (Huang 2016, sec. 3)
TIMED = ("thin", "excited", "residual", "wide")  # dropout and stochastic depth do nothing in inference
BATCH, ROUNDS = {"tiny": 4, "small": 64, "paper": 64}, {"tiny": 1, "small": 9, "paper": 9}
SHORTEST = {"tiny": 0.0, "small": 0.3, "paper": 0.3}  # minimum seconds of one measurement


def plan(scale: Scale) -> list[Recipe]:
    """One training run of each network, the most expensive first."""
    return list(trainings(scale).values())


def trainings(scale: Scale) -> dict[str, Recipe]:
    """The training recipes by label."""
    recipes = {role: full_length(scale, model) for role, model in NETWORKS[scale.name].items()}
    recipes["stochastic"] = replace(recipes["stochastic"], survival=SURVIVAL)
    return {label: recipes[role] for role, label in labels(scale.name).items()}


def labels(scale: ScaleName) -> dict[str, str]:
    """The label of each network, by what it is in the claims."""
    found = dict(NETWORKS[scale])
    return found | {
        "stochastic": f"{found['stochastic']}, stochastic depth",
        "dropout": f"{found['wide']}, dropout",
    }


def analyse(context: ExperimentContext) -> Findings:
    """By label: errors of every seed; by network: parameters, multiply-adds, and time relative to the residual one."""
    size, channels = context.preprocessing.size, context.preprocessing.channels
    models, costs = NETWORKS[context.scale.name], {}
    for model in dict.fromkeys(models.values()):
        net = context.untrained(model, 0)
        multiply_adds = sum(step.multiply_adds for step in layers(net, (channels, size, size)))
        costs[model] = {"parameters": sum(p.numel() for p in net.parameters()), "multiply_adds": multiply_adds}
    timed = [models[role] for role in TIMED]
    codes = [code_of(model) for model in timed]
    part = f"times on {context.hardware.summary()}"
    return {
        "machine": ", ".join(context.hardware.summary()[key] for key in ("device", "precision")),
        "models": models,
        "labels": labels(context.scale.name),
        "nets": errors_by_label(context, trainings(context.scale)),
        "costs": costs,
        "times": context.cached(part, __file__, codes, lambda: times_of(context, timed, models["residual"])),
    }


def times_of(context: ExperimentContext, models: Sequence[str], reference: str) -> dict[str, list[float]]:
    """By network and round, the inference time of an image as a multiple of the reference's."""
    scale, preprocessing = context.scale.name, context.preprocessing
    nets = {model: context.untrained(model, 0) for model in models}
    images = torch.randn(BATCH[scale], preprocessing.channels, preprocessing.size, preprocessing.size)
    return relative_times(nets, images, context.hardware, reference, ROUNDS[scale], SHORTEST[scale])


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, checks, table and figure


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    nets, named = findings["nets"], findings["labels"]

    def compare(claim: str, better: str, worse: str, keys: Sequence[str]) -> Verdict:
        return compare_errors(claims[claim], steps, nets, named[better], [named[worse]], keys)

    return [
        compare("stochastic-test", "stochastic", "residual", ("test",)),
        compare_gaps(claims["stochastic-gap"], steps, nets, named["stochastic"], named["residual"]),
        compare("excitation-training", "excited", "residual", ("running", "train")),
        compare("excitation-test", "excited", "residual", ("test",)),
        compare("wide-test", "wide", "thin", ("test",)),
        compare_times(claims["wide-time"], findings),
        compare("dropout-test", "dropout", "wide", ("test",)),
    ]


def compare_gaps(claim: Claim, steps: int, nets: Mapping[str, Runs], smaller: str, larger: str) -> Verdict:
    """The verdict on the claim that test and training error are closer in `smaller` than in `larger`."""
    gaps = {label: gaps_of(nets[label]) for label in (smaller, larger)}
    what = f"test minus training error, {larger} - {smaller}"
    effect = difference(gaps[smaller], gaps[larger], what, LEAST, "points")
    words = ", ".join(f"{label} {format_mean_std(found, unit=' points')}" for label, found in gaps.items())
    return decide(claim, steps, [effect], f"test minus final training error: {words}")


def gaps_of(runs: Runs) -> list[float]:
    """By how many points the test error of every seed is above its final training error."""
    return [test - train for train, test in zip(seed_values(runs, "train"), seed_values(runs, "test"), strict=True)]


def compare_times(claim: Claim, findings: Findings) -> Verdict:
    """The verdict on the claim that the wide network is faster, from the rounds of timing."""
    thin, wide = (findings["models"][role] for role in ("thin", "wide"))
    times = [a / b for a, b in zip(findings["times"][thin], findings["times"][wide], strict=True)]
    words = f"{thin} takes {mean(times):.2f} times as long as {wide} ({min(times):.2f} to {max(times):.2f}"
    words += f" over {len(times)} rounds); {findings['machine']}"
    what = f"time of {thin} over {wide}, minus 1, over {len(times)} rounds"
    return decide(claim, 0, [replace(above(1.0, times, what, FASTER - 1), over="rounds")], words)


def run_checks(findings: Findings) -> list[CheckResult]:
    models, costs = findings["models"], findings["costs"]
    excited, residual = (costs[models[role]]["multiply_adds"] for role in ("excited", "residual"))
    wide, thin = (costs[models[role]]["parameters"] for role in ("wide", "thin"))
    more = 100 * (excited / residual - 1)
    return [
        CheckResult("excitation-cost", more <= CHEAP, f"{more:.2f} % more"),
        CheckResult("wide-parameters", wide <= thin, f"{wide:,} and {thin:,}"),
    ]


def table(findings: Findings) -> Table:
    columns = ("network", "parameters", "multiply-adds", "time", *COLUMNS)
    rows = []
    for role, label in findings["labels"].items():
        model = findings["models"][role]
        cost, times = findings["costs"][model], findings["times"].get(model)
        shown = f"{mean(times):.2f}" if times else "–"
        parameters, multiply_adds = f"{cost['parameters']:,}", f"{cost['multiply_adds'] / 1e6:.1f} M"
        rows.append((label, parameters, multiply_adds, shown, *error_cells(findings["nets"][label])))
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 2))
    plot_errors(upper, findings["nets"])
    plot_times(lower, findings["times"], findings["machine"])
    for axes, title in ((upper, "Error"), (lower, f"Time per image, {findings['models']['residual']} = 1")):
        axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    upper.get_legend().remove()
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8.5)


def plot_times(axes: "Axes", times: Mapping[str, Sequence[float]], machine: str) -> None:
    """A row for each network, and a mark for each round."""
    for row, found in enumerate(times.values()):
        axes.plot(found, [row] * len(found), "o", color="#0072B2", markersize=4.5)
    quieten(axes)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7)
    axes.set_yticks(range(len(times)), list(times))
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(f"a mark a round ({machine})")


STUDY = Study(
    name="regularisers",
    title="Stochastic depth, squeeze-and-excitation, width and dropout",
    question="Do stochastic depth, squeeze-and-excitation, width and dropout improve a residual network?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(4.8, 6.2),
    reading=(
        "At the top a row for each network: each circle is the final training error of one seed, each square below it "
        "its test error. Further left is better. At the bottom, how long an image takes, measured in rounds in which "
        "the networks take turns."
    ),
    departures=(
        "The papers train for 200 to 500 epochs. Scale small trains for 4,000 steps, ten epochs, of images of 16 x 16 "
        "pixels: a verdict is about short training, in which there is little to regularise.",
        "Below scale paper there are 32 layers instead of 110, and a wide network of 16 layers is compared with a thin "
        "one of 56; the papers compare WRN-40-4 with a pre-activation network of 1,001.",
        "All networks use the recipe of He 2015 for CIFAR. Zagoruyko 2016 has Nesterov momentum, a weight decay five "
        "times as large and another schedule, Huang 2016 trains on 45,000 images.",
        "Stochastic depth drops branches per image, the paper per batch, which also saves time.",
        "Squeeze-and-excitation has the reduction of 16 of the paper's larger networks: one value in the middle where "
        "a unit has 16 channels.",
        "Time is that of batched inference at the data's size, the paper's that of a training step; it applies to the "
        "machine named with it.",
    ),
    checks=CHECKS,
    run_checks=run_checks,
)
