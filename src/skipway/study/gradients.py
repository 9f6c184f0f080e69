"""Whether gradients vanish: norms and likeness of gradients by unit, with and without batch norm and shortcuts.

He 2015, sec. 4.1, says plainly that they do not: the plain nets have batch norm, the norms of their gradients are
healthy, and the cause of degradation lies elsewhere. Balduzzi 2017 (arXiv:1702.08591) looks at what else may be
wrong with them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.models.resnet import Basic, no_shortcut
from skipway.study.bench import Bench
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.signals import (
    cross_entropy,
    deviations,
    forward_and_backward,
    neighbours_alike,
    norms,
    path,
    units_of,
)
from skipway.study.verdicts import all_of, apart, every, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINED = ("plain56", "resnet56", "plain20", "resnet20")
BARE = ("plain56_bare", "plain20_bare", "resnet20_bare")  # without batch norm, which learn at a tenth of the rate
VARIANCES = (0.5, 1.0, 2.0)  # of weights at the start, as multiples of He's
EARLY = 0.025  # share of a full training
NONE_LEFT, TOO_MUCH, HEALTHY = 1e-3, 1e3, 0.1  # of the first unit's gradient over the last one's
EXACT = 1e-6
IMAGES, POINTS = {"tiny": 16, "small": 64, "paper": 128}, {"tiny": 8, "small": 32, "paper": 32}


def early(scale: Scale, model: str) -> Recipe:
    """A fortieth of a training, the rate kept; a tenth of the rate without batch norm."""
    recipe = training(scale, model, EARLY)
    rate = recipe.lr / 10 if model.endswith("_bare") else recipe.lr
    return replace(recipe, lr=rate, milestones=(), factors=(1.0,))


def plan(scale: Scale) -> list[Recipe]:
    """The trainings of `degradation`, and short ones; at tiny one of these."""
    short = ("plain20_bare",) if scale.name == "tiny" else (*TRAINED, *BARE)
    return [*(training(scale, model) for model in TRAINED), *(early(scale, model) for model in short)]


# ---------------------------------------------------------------------------------------------------------------------
# The instrument, tried on a net whose gradients are known


class ThreeUnits(nn.Module):
    """Three residual units without normalisation on maps of one pixel: of a 3x3 kernel only the middle counts."""

    stages = ("layer1",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(*(Basic(channels, channels, 1, no_shortcut) for _ in range(3)))
        for unit in units_of(self):
            unit.bn1, unit.bn2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer1(x).flatten(1)


def by_hand(net: ThreeUnits, x: np.ndarray) -> list[np.ndarray]:
    """Gradients of the sum of y with respect to each unit's output, for x (n, channels), by the chain rule.

    y = relu(x + B relu(A x)), so that dy/dx is the transpose of diag(y > 0) (I + B diag(A x > 0) A).
    """
    jacobians = []
    for unit in net.layer1:
        assert isinstance(unit, Basic)
        a, b = (convolution.weight[:, :, 1, 1].detach().numpy() for convolution in (unit.conv1, unit.conv2))
        inner = x @ a.T
        y = np.maximum(x + np.maximum(inner, 0) @ b.T, 0)
        through = np.eye(len(a)) + np.einsum("ij,nj,jk->nik", b, inner > 0, a)
        jacobians.append((y > 0)[:, :, None] * through)
        x = y
    found = [np.ones_like(x)]
    for jacobian in reversed(jacobians[1:]):
        found.insert(0, np.einsum("nik,ni->nk", jacobian, found[0]))
    return found


def instrument_error(seed: int) -> float:
    """The largest difference, relative to the largest gradient, between what is measured and what is worked out."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = ThreeUnits(6).double()
        x = torch.randn(5, 6, 1, 1, dtype=torch.float64)
    _, measured = forward_and_backward(net, x, Tensor.sum)
    pairs = zip(measured, by_hand(net, x.flatten(1).numpy()), strict=True)
    return max(float(np.abs(m.flatten(1).numpy() - known).max() / np.abs(known).max()) for m, known in pairs)


# ---------------------------------------------------------------------------------------------------------------------
# What is measured


def with_variance(net: Network, multiple: float) -> Network:
    """`net`, the variance of every convolution's weights multiplied."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= math.sqrt(multiple)
    return net


def profile(net: Network, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """By unit: the norm of an image's gradient, and the deviation of the signal. Batch norm uses the batch."""
    outputs, gradients = forward_and_backward(net.train(), images, cross_entropy(labels))
    return {"gradient": norms(gradients), "signal": deviations(outputs)}


def likeness(net: Network, images: Tensor, points: int) -> list[float]:
    """By unit: how alike the gradients of a class score are at neighbouring points between images, a mean of pairs."""
    found = []
    for first, last in zip(images[0::2], images[1::2], strict=True):
        _, gradients = forward_and_backward(net.train(), path(first, last, points), lambda scores: scores[:, 0].sum())
        found.append(neighbours_alike(gradients))
    return np.mean(found, axis=0).tolist()


def row(bench: Bench, net: Network, model: str, moment: str, seed: int, variance: float = 1.0) -> dict[str, Any]:
    """Everything of one net at one moment."""
    images, labels = bench.images("train", IMAGES[bench.scale.name])
    found: dict[str, Any] = {"model": model, "moment": moment, "seed": seed, "variance": variance}
    found |= profile(net, images, labels)
    if variance == 1 and not model.endswith("_bare"):
        found["alike"] = likeness(net, images[:4], POINTS[bench.scale.name])
    return {k: [float(f"{x:.4g}") for x in v] if isinstance(v, list) else v for k, v in found.items()}


def analyse(bench: Bench) -> Findings:
    """Rows of nets at the start (with weights of several variances), early in training and at its end."""
    rows = []
    for seed in bench.seeds:
        for model in (*TRAINED, "plain56_bare", "resnet56_bare"):
            variances = (1.0,) if model in ("plain20", "resnet20") else VARIANCES
            nets = ((with_variance(bench.fresh(model, seed), variance), variance) for variance in variances)
            rows += [row(bench, net, model, "start", seed, variance) for net, variance in nets]
    whole = {training(bench.scale, model) for model in TRAINED}
    for trained in bench.trained:
        recipe, seed = trained.run.recipe, trained.run.recipe.seed
        moment = "end" if replace(recipe, seed=0) in whole else "early"
        if not trained.outcome.diverged:
            rows.append(row(bench, trained.net(), recipe.model, moment, seed))
    return {"instrument": max(instrument_error(seed) for seed in range(5)), "rows": rows}


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def pick(findings: Findings, model: str, moment: str, variance: float = 1.0) -> list[dict[str, Any]]:
    """The rows of every seed."""
    wanted = {"model": model, "moment": moment, "variance": variance}
    return [found for found in findings["rows"] if wanted.items() <= found.items()]


def first_over_last(rows: Sequence[dict[str, Any]]) -> list[float]:
    """The gradient that reaches the first unit over that of the last, by seed. Where it overflows: infinite."""
    return [r["gradient"][0] / r["gradient"][-1] if r["gradient"][-1] else math.inf for r in rows]


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    error = findings["instrument"]
    verdicts = [settle(claims["instrument"], scale, error <= EXACT, f"largest relative difference {error:.1e}")]
    ratios = {moment: first_over_last(pick(findings, "plain56", moment)) for moment in ("start", "early", "end")}
    whole = len({len(found) for found in ratios.values()}) == 1  # a training that diverged leaves a moment without
    healthy = every([min(found) >= HEALTHY for found in zip(*ratios.values(), strict=True)]) if whole else None
    words = "; ".join(f"{moment}: {', '.join(f'{r:.3g}' for r in found)}" for moment, found in ratios.items())
    verdicts.append(settle(claims["no-vanishing"], scale, healthy, f"first over last unit, plain56, by seed: {words}"))
    verdicts.append(judge_normalisation(claims, scale, findings))
    alike = {model: [r["alike"][0] for r in pick(findings, model, "start")] for model in TRAINED}
    seen = all_of(apart(alike["plain56"], alike["plain20"]), apart(alike["plain56"], alike["resnet56"]))
    words = ", ".join(f"{model} {spread(values, 3)}" for model, values in alike.items())
    verdicts.append(settle(claims["shattering"], scale, seen, f"mean cosine at the first unit, at the start: {words}"))
    return verdicts


def judge_normalisation(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> Verdict:
    """Whether the scale of the weights decides without batch norm, and does not with it."""
    low, high = VARIANCES[0], VARIANCES[-1]
    bare = {v: first_over_last(pick(findings, "plain56_bare", "start", v)) for v in VARIANCES}
    normal = {v: first_over_last(pick(findings, "plain56", "start", v)) for v in VARIANCES}
    by_seed = zip(bare[low], bare[high], normal[low], normal[1.0], normal[high], strict=True)
    seen = every([a < NONE_LEFT and b > TOO_MUCH and max(c) < 2 * min(c) for a, b, *c in by_seed])

    def listed(ratios: Sequence[float]) -> str:
        return ", ".join(f"{ratio:.2g}" for ratio in ratios)

    words = [f"variance {v:g}: without {listed(bare[v])}, with {listed(normal[v])}" for v in VARIANCES]
    return settle(claims["normalisation"], scale, seen, "first over last unit, plain56: " + "; ".join(words))


def table(findings: Findings) -> Table:
    """A row a net and moment: means over seeds."""
    keys = dict.fromkeys((r["model"], r["moment"], r["variance"]) for r in findings["rows"])
    rows = []
    for model, moment, variance in keys:
        chosen = pick(findings, model, moment, variance)
        ratio, alike = first_over_last(chosen), [r["alike"][0] for r in chosen if "alike" in r]
        start = f"{moment}, variance {variance:g}" if moment == "start" else moment
        rows.append(
            (
                model.replace("_bare", " without batch norm"),
                start,
                f"{np.exp(np.mean(np.log(ratio))):.3g}",
                f"{np.mean([r['signal'][-1] for r in chosen]):.3g}",
                f"{np.mean(alike):.3f}" if alike else "–",
            )
        )
    measured = ("gradient, first over last unit", "deviation of the last signal", "likeness at the first unit")
    return Table(("net", "when", *measured), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    start, training_, alike = figure.subplots(1, 3)
    bare = [("plain56_bare", v, dash) for v, dash in zip(VARIANCES, (":", "--", "-."), strict=True)]
    names = {0.5: "half He's variance", 1.0: "He's variance", 2.0: "twice He's variance"}
    for model, variance, dash in bare:
        curve(
            start, pick(findings, model, "start", variance), "#8a9099", dash, f"plain, no batch norm, {names[variance]}"
        )
    curve(start, pick(findings, "plain56", "start"), "#D55E00", "-", "plain, batch norm, any")
    curve(start, pick(findings, "resnet56", "start"), "#0072B2", "-", "residual, batch norm, any")
    for model, colour in (("plain56", "#D55E00"), ("resnet56", "#0072B2")):
        word = "plain" if model == "plain56" else "residual"
        for moment, dash in (("early", "--"), ("end", "-")):
            curve(training_, pick(findings, model, moment), colour, dash, f"{word}, {moment}")
        likeness_curve(alike, pick(findings, model, "start"), colour, word)
    titles = {start: "56 layers, at the start", training_: "56 layers, in training", alike: "56 layers, at the start"}
    for axes, title in titles.items():
        quieten(axes)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("unit")
        if axes.lines:
            axes.legend(frameon=False, fontsize=7, loc="upper right" if axes is start else "best")
    for axes in (start, training_):
        axes.set_ylabel("gradient, over the last unit's")
        if axes.lines:
            axes.set_ylim(top=axes.get_ylim()[1] * (1e7 if axes is start else 3))  # room for the legend
    alike.set_ylabel("cosine of neighbouring gradients")


def curve(axes: "Axes", rows: Sequence[dict[str, Any]], colour: str, dash: str, label: str) -> None:
    """Gradient by unit relative to the last unit's, the mean of the logarithms over seeds."""
    if not rows:
        return
    values = np.array([r["gradient"] for r in rows])
    relative = np.exp(np.log(np.maximum(values / values[:, -1:], 1e-30)).mean(0))
    axes.semilogy(range(1, len(relative) + 1), relative, dash, color=colour, linewidth=1.5, label=label)


def likeness_curve(axes: "Axes", rows: Sequence[dict[str, Any]], colour: str, label: str) -> None:
    values = np.array([r["alike"] for r in rows])
    axes.plot(range(1, values.shape[1] + 1), values.mean(0), "-", color=colour, linewidth=1.5, label=label)
    axes.set_ylim(top=1)


STUDY = Study(
    name="gradients",
    title="With batch norm, gradients do not vanish",
    question="Do vanishing gradients explain why deep plain nets train badly?",
    claims=(
        Claim(
            "instrument",
            "What this study measures agrees with gradients worked out by hand for a net of three residual units.",
            "the chain rule",
            "no difference",
            f"the largest relative difference is at most {EXACT:g}",
            "A difference above it.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "no-vanishing",
            "With batch norm the gradients of a plain net of 56 layers do not vanish, at the start nor in training.",
            "He 2015, sec. 4.1",
            "words alone: forward signals have non-zero variance, backward ones healthy norms",
            f"at each moment and seed the first unit's gradient is at least {HEALTHY:g} of the last unit's",
            "At some moment the first unit gets less than a tenth of the gradient that the last one gets.",
            refuted_from="small",
        ),
        Claim(
            "normalisation",
            "Without batch norm the gradients of a plain net of 56 layers vanish with weights of half the variance and "
            "explode with twice of it; with batch norm the variance does not matter.",
            "He 2015, sec. 1; Ioffe and Szegedy 2015, sec. 3.3",
            "words alone",
            "without, first over last unit is below 1e-3 and above 1e3; with, it changes by less than a factor of two",
            "The ratio stays between these without batch norm, or changes with it.",
            refuted_from="small",
        ),
        Claim(
            "shattering",
            "Gradients at neighbouring inputs become less alike with depth in plain nets, and shortcuts resist it.",
            "Balduzzi 2017, abstract and sec. 2",
            "words alone: likeness falls exponentially with depth in plain nets, sublinearly with shortcuts",
            "plain56 is less alike than plain20 and than resnet56, in every seed",
            "plain56 is more alike than one of the two in every seed.",
            refuted_from="small",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(10.5, 3.4),
    reading=(
        "Left and middle: how large the gradient is that arrives at each unit, over that of the last unit, on a "
        "logarithmic scale; it travels from right to left. A line that falls to the left vanishes, one that rises "
        "explodes. Right: how alike gradients are at neighbouring inputs; 1 is the same direction, 0 none in common."
    ),
    departures=(
        "He 2015 reports no figures, and means healthy as not vanishing; what counts as that is ours. At the start the "
        "gradients of plain nets with batch norm even grow towards the input (Yang 2019, arXiv:1902.08129).",
        "Balduzzi looks at a net with one input; here inputs lie on straight lines between two images, the gradient is "
        "of one class score, and the points of a line are one batch.",
        "Nets without batch norm are trained at a tenth of the rate.",
    ),
)
