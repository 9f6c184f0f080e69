"""Norm and similarity of gradients by unit, with and without batch norm and shortcuts.

He 2015, sec. 4.1, states that they do not vanish: the plain networks have batch norm, the norms of their gradients are
healthy, and degradation has another cause. Balduzzi 2017 (arXiv:1702.08591) studies what else may be wrong with them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import CheckResult, Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import above, below, decide, difference, format_mean_std
from skipway.study.experiments import degradation
from skipway.study.experiments.gradients_claims import (
    CHANGED,
    CHECKS,
    CLAIMS,
    DEPARTURES,
    EXACT,
    HEALTHY,
    HOMOGENEOUS,
    SIMILAR,
    UNCHANGED,
)
from skipway.study.experiments.gradients_figure import draw, pick
from skipway.study.probes.activations import (
    cross_entropy,
    forward_and_backward,
    interpolate,
    neighbour_similarity,
    norms,
    standard_deviations,
)
from skipway.study.probes.known_gradients import measurement_error
from skipway.training.recipes import Recipe

TRAINED = ("plain56", "resnet56", "plain20", "resnet20")
BARE = ("plain56_bare", "plain20_bare", "resnet20_bare")  # without batch norm, trained at a tenth of the rate
VARIANCES = (0.5, 1.0, 2.0)  # of the initial weights, as multiples of He's
FAINTEST = 1e-12  # smaller ratios, and none, count as this; larger ones than its inverse as that
EARLY = 0.025  # share of a full training run
MOMENTS = ("start", "early", "end")
IMAGES, POINTS = {"tiny": 16, "small": 64, "paper": 128}, {"tiny": 8, "small": 32, "paper": 32}
PAIRS = {"tiny": 2, "small": 16, "paper": 16}  # of images, between which gradients are compared


def full(scale: Scale) -> dict[str, Recipe]:
    """The training runs of `degradation` by network."""
    shared = degradation.trainings(degradation.CIFAR, scale)
    return {model: shared[model] for model in TRAINED}


def early(scale: Scale, model: str) -> Recipe:
    """A fortieth of the scale's length at a constant learning rate, a tenth of it without batch norm, on images of the
    size of the full runs."""
    like = full(scale)["plain56"]
    recipe = replace(training(scale, model, EARLY), size=like.size, pad=like.pad, milestones=(), factors=(1.0,))
    return replace(recipe, lr=recipe.lr / 10) if model.endswith("_bare") else recipe


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`, and short ones (only one at scale tiny)."""
    short = ("plain20_bare",) if scale.name == "tiny" else (*TRAINED, *BARE)
    return [*full(scale).values(), *(early(scale, model) for model in short)]


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def with_variance(net: Network, multiple: float) -> Network:
    """`net` with the variance of every convolution's weights multiplied by `multiple`."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= math.sqrt(multiple)
    return net


def profile(net: Network, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """By unit: the norm of an image's gradient, and the signal's standard deviation. Batch norm uses the batch."""
    outputs, gradients = forward_and_backward(net.train(), images, cross_entropy(labels))
    return {"gradient": norms(gradients), "signal": standard_deviations(outputs)}


def similarity(net: Network, images: Tensor, points: int) -> list[float]:
    """By unit: the cosine similarity of a class score's gradients at neighbouring points between two images, averaged
    over pairs of images."""
    found = []
    for first, last in zip(images[0::2], images[1::2], strict=True):
        _, gradients = forward_and_backward(
            net.train(), interpolate(first, last, points), lambda scores: scores[:, 0].sum()
        )
        found.append(neighbour_similarity(gradients))
    return np.mean(found, axis=0).tolist()


def row(
    context: ExperimentContext, net: Network, model: str, moment: str, seed: int, variance: float = 1.0
) -> dict[str, Any]:
    """All measurements of one network at one moment, on images of the size that the full runs are trained at."""
    scale = context.scale
    side = full(scale)["plain56"].size or context.preprocessing.size
    preprocessing = replace(context.preprocessing, size=side, resize=side)
    images, labels = context.images("train", IMAGES[scale.name], preprocessing)
    found: dict[str, Any] = {"model": model, "moment": moment, "seed": seed, "variance": variance}
    found |= profile(net, images, labels)
    if variance == 1 and not model.endswith("_bare"):
        found["alike"] = similarity(net, images[: 2 * PAIRS[scale.name]], POINTS[scale.name])
    return {k: [float(f"{x:.4g}") for x in v] if isinstance(v, list) else v for k, v in found.items()}


def analyse(context: ExperimentContext) -> Findings:
    """Measurements at the start (with weights of several variances), early in training and at its end."""
    rows = []
    for seed in context.seeds:
        for model in (*TRAINED, "plain56_bare", "resnet56_bare"):
            variances = (1.0,) if model in ("plain20", "resnet20") else VARIANCES
            nets = ((with_variance(context.untrained(model, seed), variance), variance) for variance in variances)
            rows += [row(context, net, model, "start", seed, variance) for net, variance in nets]
    full_runs = set(full(context.scale).values())
    for trained in context.trained:
        recipe, seed = trained.run.recipe, trained.run.recipe.seed
        moment = "end" if replace(recipe, seed=0) in full_runs else "early"
        if not trained.outcome.diverged:
            rows.append(row(context, trained.net(), recipe.model, moment, seed))
    return {"instrument": max(measurement_error(seed) for seed in range(5)), "rows": rows}


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, checks and table


def relative(row: Mapping[str, Any]) -> list[float]:
    """The gradient of every unit, first to last, divided by the last one's; infinite if that is 0."""
    last = row["gradient"][-1]
    return [gradient / last if last else math.inf for gradient in row["gradient"]]


def first_over_last(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The ratio of the first unit's gradient to the last one's, by seed."""
    return [relative(found)[0] for found in rows]


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    return [
        decide_norms(claims["no-vanishing"], steps, findings, vanishing=True),
        decide_norms(claims["no-exploding"], steps, findings, vanishing=False),
        decide_similarity(claims["shattering"], findings),
    ]


def decide_norms(claim: Claim, steps: int, findings: Findings, vanishing: bool) -> Verdict:
    """Whether the smallest (vanishing) or the largest gradient of any unit of plain56 is healthy at every moment."""
    chosen = {moment: pick(findings, "plain56", moment) for moment in MOMENTS}
    extreme = min if vanishing else max
    found = {moment: [extreme(relative(row)) for row in rows] for moment, rows in chosen.items()}
    seeds = len(found["start"])
    missing = [moment for moment, values in found.items() if len(values) < seeds]
    shortfall = f"a run diverged, and {' and '.join(missing)} is not measured for every seed" if missing else ""
    compare, limit = (above, 1 / HEALTHY) if vanishing else (below, HEALTHY)
    name = "smallest" if vanishing else "largest"
    effects = [
        compare(
            math.log10(limit),
            [math.log10(min(max(v, FAINTEST), 1 / FAINTEST)) for v in values],
            f"{name} gradient, {moment}, inside the limit",
            unit="decades",
        )
        for moment, values in found.items()
        if values
    ]
    words = "; ".join(f"{moment}: {', '.join(f'{v:.3g}' for v in values)}" for moment, values in found.items())
    return decide(
        claim, steps, effects, f"{name} gradient of a unit / last unit's, plain56, by seed: {words}", shortfall
    )


def decide_similarity(claim: Claim, findings: Findings) -> Verdict:
    """Whether the untrained plain56 has less similar gradients than plain20 and than resnet56."""
    found = {model: [row["alike"][0] for row in pick(findings, model, "start")] for model in TRAINED}
    effects = [
        difference(found["plain56"], found[other], f"cosine similarity, {other} - plain56", SIMILAR)
        for other in ("plain20", "resnet56")
    ]
    words = ", ".join(f"{model} {format_mean_std(values, 3)}" for model, values in found.items())
    return decide(claim, 0, effects, f"mean cosine at the first unit, at the start: {words}")


def run_checks(findings: Findings) -> list[CheckResult]:
    """The analytic gradients, and what scaling the initial weights does by arithmetic."""
    error = findings["instrument"]
    analytic = CheckResult("analytic", error <= EXACT, f"largest relative difference {error:.1e}")
    return [analytic, scaled_check(findings), normalised_check(findings)]


def scaled_check(findings: Findings) -> CheckResult:
    """Without batch norm a gradient is multiplied by the weights' factor at each of the convolutions that it passes."""
    found = []
    for variance in (VARIANCES[0], VARIANCES[-1]):
        rows = pick(findings, "plain56_bare", "start", variance)
        convolutions = 2 * (len(rows[0]["gradient"]) - 1)
        expected = math.sqrt(variance) ** convolutions
        pairs = zip(first_over_last(rows), first_over_last(pick(findings, "plain56_bare", "start")), strict=True)
        found += [ratio / plain / expected for ratio, plain in pairs]
    off = max(max(value, 1 / value) if 0 < value < math.inf else math.inf for value in found)
    return CheckResult("scaled", off <= HOMOGENEOUS, f"measured / expected: {min(found):.3g} to {max(found):.3g}")


def normalised_check(findings: Findings) -> CheckResult:
    """With batch norm the weights' factor has no effect."""
    found = []
    for model in ("plain56", "resnet56"):
        plain = first_over_last(pick(findings, model, "start"))
        for variance in (VARIANCES[0], VARIANCES[-1]):
            rows = pick(findings, model, "start", variance)
            found += [ratio / usual - 1 for ratio, usual in zip(first_over_last(rows), plain, strict=True)]
    off = max(map(abs, found))
    return CheckResult("normalised", off <= UNCHANGED, f"largest relative change {100 * off:.1f} %")


def table(findings: Findings) -> Table:
    """A row for each network and moment: means over seeds."""
    keys = dict.fromkeys((r["model"], r["moment"], r["variance"]) for r in findings["rows"])
    rows = []
    for model, moment, variance in keys:
        chosen = pick(findings, model, moment, variance)
        similarities = [r["alike"][0] for r in chosen if "alike" in r]
        start = f"{moment}, variance {variance:g}" if moment == "start" else moment
        ratios = {name: [of(relative(r)) for r in chosen] for name, of in (("min", min), ("max", max))}
        rows.append(
            (
                model.replace("_bare", " without batch norm"),
                start,
                geometric_mean(first_over_last(chosen)),
                geometric_mean(ratios["min"]),
                geometric_mean(ratios["max"]),
                f"{np.mean([r['signal'][-1] for r in chosen]):.3g}",
                f"{np.mean(similarities):.3f}" if similarities else "–",
            )
        )
    ratios_shown = ("gradient, first / last unit", "smallest / last", "largest / last")
    measured = ("std of the last signal", "cosine similarity at the first unit")
    return Table(("network", "when", *ratios_shown, *measured), rows)


def geometric_mean(ratios: Sequence[float]) -> str:
    return f"{np.exp(np.mean(np.log(ratios))):.3g}"


STUDY = Study(
    name="gradients",
    title="Gradients with batch norm and without",
    question="Do vanishing gradients explain why deep plain networks train badly?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.6, 8.4),
    reading=(
        "Top and middle: the gradient at each unit relative to that of the last unit, on a logarithmic scale; it "
        "propagates from right to left. A line that falls to the left means vanishing, one that rises exploding; the "
        "shaded band is within a factor of ten. Bottom: cosine similarity of gradients at neighbouring inputs; 1 is "
        "the same direction, 0 orthogonal. Each line is the mean of the seeds."
    ),
    departures=DEPARTURES,
    changed=CHANGED,
    checks=CHECKS,
    run_checks=run_checks,
)
