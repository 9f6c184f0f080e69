"""Norm and similarity of gradients by unit, with and without batch norm and shortcuts.

He 2015, sec. 4.1, states that they do not vanish: the plain networks have batch norm, the norms of their gradients are
healthy, and degradation has another cause. Balduzzi 2017 (arXiv:1702.08591) studies what else may be wrong with them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.models.resnet import Basic, no_shortcut
from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_of, all_seeds, decide_verdict, format_mean_std, separated
from skipway.study.probes.activations import (
    cross_entropy,
    forward_and_backward,
    interpolate,
    neighbour_similarity,
    norms,
    standard_deviations,
    units_of,
)
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINED = ("plain56", "resnet56", "plain20", "resnet20")
BARE = ("plain56_bare", "plain20_bare", "resnet20_bare")  # without batch norm, trained at a tenth of the rate
VARIANCES = (0.5, 1.0, 2.0)  # of the initial weights, as multiples of He's
EARLY = 0.025  # share of a full training run
VANISHED, EXPLODED, HEALTHY = 1e-3, 1e3, 0.1  # ratio of the first unit's gradient to the last one's
EXACT = 1e-6
IMAGES, POINTS = {"tiny": 16, "small": 64, "paper": 128}, {"tiny": 8, "small": 32, "paper": 32}


def early(scale: Scale, model: str) -> Recipe:
    """A fortieth of a full training run at a constant learning rate, a tenth of it without batch norm."""
    recipe = training(scale, model, EARLY)
    rate = recipe.lr / 10 if model.endswith("_bare") else recipe.lr
    return replace(recipe, lr=rate, milestones=(), factors=(1.0,))


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`, and short ones (only one at scale tiny)."""
    short = ("plain20_bare",) if scale.name == "tiny" else (*TRAINED, *BARE)
    return [*(training(scale, model) for model in TRAINED), *(early(scale, model) for model in short)]


# ---------------------------------------------------------------------------------------------------------------------
# Check of the measurement on a network whose gradients are known


class ThreeUnits(nn.Module):
    """Three residual units without normalisation on 1 x 1 maps, where only the centre of a 3x3 kernel matters."""

    stages = ("layer1",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(*(Basic(channels, channels, 1, no_shortcut) for _ in range(3)))
        for unit in units_of(self):
            unit.bn1, unit.bn2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer1(x).flatten(1)


def analytic_gradients(net: ThreeUnits, x: np.ndarray) -> list[np.ndarray]:
    """Gradients of the sum of y with respect to each unit's output, for x (n, channels), by the chain rule.

    y = relu(x + B relu(A x)), so dy/dx is the transpose of diag(y > 0) (I + B diag(A x > 0) A).
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


def measurement_error(seed: int) -> float:
    """The largest difference between measured and analytic gradients, relative to the largest gradient."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = ThreeUnits(6).double()
        x = torch.randn(5, 6, 1, 1, dtype=torch.float64)
    _, measured = forward_and_backward(net, x, Tensor.sum)
    pairs = zip(measured, analytic_gradients(net, x.flatten(1).numpy()), strict=True)
    return max(float(np.abs(m.flatten(1).numpy() - known).max() / np.abs(known).max()) for m, known in pairs)


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
    """All measurements of one network at one moment."""
    images, labels = context.images("train", IMAGES[context.scale.name])
    found: dict[str, Any] = {"model": model, "moment": moment, "seed": seed, "variance": variance}
    found |= profile(net, images, labels)
    if variance == 1 and not model.endswith("_bare"):
        found["alike"] = similarity(net, images[:4], POINTS[context.scale.name])
    return {k: [float(f"{x:.4g}") for x in v] if isinstance(v, list) else v for k, v in found.items()}


def analyse(context: ExperimentContext) -> Findings:
    """Measurements at the start (with weights of several variances), early in training and at its end."""
    rows = []
    for seed in context.seeds:
        for model in (*TRAINED, "plain56_bare", "resnet56_bare"):
            variances = (1.0,) if model in ("plain20", "resnet20") else VARIANCES
            nets = ((with_variance(context.untrained(model, seed), variance), variance) for variance in variances)
            rows += [row(context, net, model, "start", seed, variance) for net, variance in nets]
    full_runs = {training(context.scale, model) for model in TRAINED}
    for trained in context.trained:
        recipe, seed = trained.run.recipe, trained.run.recipe.seed
        moment = "end" if replace(recipe, seed=0) in full_runs else "early"
        if not trained.outcome.diverged:
            rows.append(row(context, trained.net(), recipe.model, moment, seed))
    return {"instrument": max(measurement_error(seed) for seed in range(5)), "rows": rows}


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def pick(findings: Findings, model: str, moment: str, variance: float = 1.0) -> list[dict[str, Any]]:
    """The rows of every seed."""
    wanted = {"model": model, "moment": moment, "variance": variance}
    return [found for found in findings["rows"] if wanted.items() <= found.items()]


def first_over_last(rows: Sequence[dict[str, Any]]) -> list[float]:
    """The ratio of the first unit's gradient to the last one's, by seed; infinite if it overflows."""
    return [r["gradient"][0] / r["gradient"][-1] if r["gradient"][-1] else math.inf for r in rows]


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    error = findings["instrument"]
    verdicts = [decide_verdict(claims["instrument"], scale, error <= EXACT, f"largest relative difference {error:.1e}")]
    ratios = {moment: first_over_last(pick(findings, "plain56", moment)) for moment in ("start", "early", "end")}
    complete = len({len(found) for found in ratios.values()}) == 1  # diverged runs have no row for some moment
    healthy = all_seeds([min(found) >= HEALTHY for found in zip(*ratios.values(), strict=True)]) if complete else None
    words = "; ".join(f"{moment}: {', '.join(f'{r:.3g}' for r in found)}" for moment, found in ratios.items())
    verdicts.append(
        decide_verdict(claims["no-vanishing"], scale, healthy, f"first / last unit, plain56, by seed: {words}")
    )
    verdicts.append(decide_normalisation(claims, scale, findings))
    similarities = {model: [r["alike"][0] for r in pick(findings, model, "start")] for model in TRAINED}
    supported = all_of(
        separated(similarities["plain56"], similarities["plain20"]),
        separated(similarities["plain56"], similarities["resnet56"]),
    )
    words = ", ".join(f"{model} {format_mean_std(values, 3)}" for model, values in similarities.items())
    verdicts.append(
        decide_verdict(claims["shattering"], scale, supported, f"mean cosine at the first unit, at the start: {words}")
    )
    return verdicts


def decide_normalisation(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> Verdict:
    """Whether the scale of the weights matters without batch norm, and does not with it."""
    low, high = VARIANCES[0], VARIANCES[-1]
    bare = {v: first_over_last(pick(findings, "plain56_bare", "start", v)) for v in VARIANCES}
    normal = {v: first_over_last(pick(findings, "plain56", "start", v)) for v in VARIANCES}
    by_seed = zip(bare[low], bare[high], normal[low], normal[1.0], normal[high], strict=True)
    supported = all_seeds([a < VANISHED and b > EXPLODED and max(c) < 2 * min(c) for a, b, *c in by_seed])

    def listed(ratios: Sequence[float]) -> str:
        return ", ".join(f"{ratio:.2g}" for ratio in ratios)

    words = [f"variance {v:g}: without {listed(bare[v])}, with {listed(normal[v])}" for v in VARIANCES]
    return decide_verdict(claims["normalisation"], scale, supported, "first / last unit, plain56: " + "; ".join(words))


def table(findings: Findings) -> Table:
    """A row for each network and moment: means over seeds."""
    keys = dict.fromkeys((r["model"], r["moment"], r["variance"]) for r in findings["rows"])
    rows = []
    for model, moment, variance in keys:
        chosen = pick(findings, model, moment, variance)
        ratio, similarities = first_over_last(chosen), [r["alike"][0] for r in chosen if "alike" in r]
        start = f"{moment}, variance {variance:g}" if moment == "start" else moment
        rows.append(
            (
                model.replace("_bare", " without batch norm"),
                start,
                f"{np.exp(np.mean(np.log(ratio))):.3g}",
                f"{np.mean([r['signal'][-1] for r in chosen]):.3g}",
                f"{np.mean(similarities):.3f}" if similarities else "–",
            )
        )
    measured = ("gradient, first / last unit", "std of the last signal", "cosine similarity at the first unit")
    return Table(("network", "when", *measured), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    start, training_, similarities = figure.subplots(1, 3)
    bare = [("plain56_bare", v, dash) for v, dash in zip(VARIANCES, (":", "--", "-."), strict=True)]
    names = {0.5: "0.5 x He's variance", 1.0: "He's variance", 2.0: "2 x He's variance"}
    for model, variance, dash in bare:
        curve(
            start, pick(findings, model, "start", variance), "#8a9099", dash, f"plain, no batch norm, {names[variance]}"
        )
    curve(start, pick(findings, "plain56", "start"), "#D55E00", "-", "plain, batch norm, any variance")
    curve(start, pick(findings, "resnet56", "start"), "#0072B2", "-", "residual, batch norm, any variance")
    for model, colour in (("plain56", "#D55E00"), ("resnet56", "#0072B2")):
        word = "plain" if model == "plain56" else "residual"
        for moment, dash in (("early", "--"), ("end", "-")):
            curve(training_, pick(findings, model, moment), colour, dash, f"{word}, {moment}")
        similarity_curve(similarities, pick(findings, model, "start"), colour, word)
    titles = {
        start: "56 layers, at the start",
        training_: "56 layers, in training",
        similarities: "56 layers, at the start",
    }
    for axes, title in titles.items():
        quieten(axes)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("unit")
        if axes.lines:
            axes.legend(frameon=False, fontsize=7, loc="upper right" if axes is start else "best")
    for axes in (start, training_):
        axes.set_ylabel("gradient, relative to the last unit")
        if axes.lines:
            axes.set_ylim(top=axes.get_ylim()[1] * (1e7 if axes is start else 3))  # room for the legend
    similarities.set_ylabel("cosine of neighbouring gradients")


def curve(axes: "Axes", rows: Sequence[dict[str, Any]], colour: str, dash: str, label: str) -> None:
    """Plot the gradient by unit relative to the last unit's, the geometric mean over seeds."""
    if not rows:
        return
    values = np.array([r["gradient"] for r in rows])
    relative = np.exp(np.log(np.maximum(values / values[:, -1:], 1e-30)).mean(0))
    axes.semilogy(range(1, len(relative) + 1), relative, dash, color=colour, linewidth=1.5, label=label)


def similarity_curve(axes: "Axes", rows: Sequence[dict[str, Any]], colour: str, label: str) -> None:
    values = np.array([r["alike"] for r in rows])
    axes.plot(range(1, values.shape[1] + 1), values.mean(0), "-", color=colour, linewidth=1.5, label=label)
    axes.set_ylim(top=1)


STUDY = Study(
    name="gradients",
    title="With batch norm, gradients do not vanish",
    question="Do vanishing gradients explain why deep plain networks train badly?",
    claims=(
        Claim(
            "instrument",
            "The measured gradients agree with analytic ones for a network of three residual units.",
            "the chain rule",
            "no difference",
            f"the largest relative difference is at most {EXACT:g}",
            "The difference is larger.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "no-vanishing",
            "With batch norm the gradients of a plain network of 56 layers do not vanish, neither at the start nor in "
            "training.",
            "He 2015, sec. 4.1",
            "in the text only: forward signals have non-zero variance, backward ones healthy norms",
            f"at each moment and seed the first unit's gradient is at least {HEALTHY:g} of the last unit's",
            "At some moment the first unit's gradient is less than a tenth of the last unit's.",
            refuted_from="small",
        ),
        Claim(
            "normalisation",
            "Without batch norm the gradients of a plain network of 56 layers vanish with half the weight variance and "
            "explode with twice of it; with batch norm the variance does not matter.",
            "He 2015, sec. 1; Ioffe and Szegedy 2015, sec. 3.3",
            "in the text only",
            "without batch norm the ratio of first to last unit is below 1e-3 and above 1e3; with it, it changes by "
            "less than a factor of two",
            "The ratio stays within these bounds without batch norm, or changes with it.",
            refuted_from="small",
        ),
        Claim(
            "shattering",
            "Gradients at neighbouring inputs become less similar with depth in plain networks, and shortcuts reduce "
            "this.",
            "Balduzzi 2017, abstract and sec. 2",
            "in the text only: similarity falls exponentially with depth in plain networks, sublinearly with shortcuts",
            "plain56 has a lower similarity than plain20 and than resnet56, in every seed",
            "plain56 has a higher similarity than one of the two in every seed.",
            refuted_from="small",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(10.5, 3.4),
    reading=(
        "Left and middle: the gradient at each unit relative to that of the last unit, on a logarithmic scale; it "
        "propagates from right to left. A line that falls to the left means vanishing, one that rises exploding. "
        "Right: cosine similarity of gradients at neighbouring inputs; 1 is the same direction, 0 orthogonal."
    ),
    departures=(
        "He 2015 reports no numbers, and 'healthy' means not vanishing; the threshold is ours. At the start the "
        "gradients of plain networks with batch norm even grow towards the input (Yang 2019, arXiv:1902.08129).",
        "Balduzzi studies a network with a scalar input; here inputs lie on straight lines between two images, the "
        "gradient is that of one class score, and the points of a line form one batch.",
        "Networks without batch norm are trained at a tenth of the learning rate.",
    ),
)
