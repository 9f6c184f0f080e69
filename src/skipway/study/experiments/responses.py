"""Standard deviations of layer responses with and without shortcuts.

He 2015, sec. 4.2, Fig. 7.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale
from skipway.study.engine.verdicts import decide, difference, format_mean_std, mean
from skipway.study.experiments import degradation
from skipway.study.probes.activations import forward_hooks
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = ("plain56", "resnet56", "plain20", "resnet20")
COLOURS = {"plain": "#D55E00", "resnet": "#0072B2"}
IMAGES = {"tiny": 16, "small": 512, "paper": 2048}


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`."""
    recipes = degradation.trainings(degradation.CIFAR, scale)
    return [recipes[model] for model in MODELS]


@torch.inference_mode()
def responses(net: nn.Module, images: Tensor) -> list[float]:
    """The standard deviation of each 3x3 layer's output after batch norm, before ReLU or addition, in layer order.

    Computed in forward hooks, since the following operations work in place.
    """
    found: list[float] = []
    norms = [m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and "downsample" not in name]
    with forward_hooks(norms, lambda _, __, out: found.append(out.std().item())):
        net.eval()(images)
    return found


def analyse(context: ExperimentContext) -> Findings:
    """By network and seed, the standard deviation of every layer's response on test images."""
    most, rows = IMAGES[context.scale.name], []
    for trained in context.trained:
        if trained.outcome.diverged:
            continue
        images, _ = context.images("test", most, trained.preprocessing())
        rows.append(row(trained.run.recipe.model, trained.run.recipe.seed, "", responses(trained.net(), images)))
    for foreign in context.pretrained():
        images = foreign.images("test", most)[0]
        rows.append(row(foreign.model, 0, foreign.name, responses(foreign.net, images)))
    return {"rows": rows}


def row(model: str, seed: int, others: str, found: Sequence[float]) -> dict[str, Any]:
    return {"model": model, "seed": seed, "others": others, "responses": [round(value, 4) for value in found]}


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts and table


def all_responses(findings: Findings, model: str) -> list[list[float]]:
    """The responses of the networks trained here, by seed."""
    return [row["responses"] for row in findings["rows"] if row["model"] == model and not row["others"]]


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def compare(claim: Claim, steps: int, findings: Findings, smaller: str, larger: str) -> Verdict:
    """The verdict on a claim that the layers of one network have smaller responses, in the mean over its layers."""
    nets = {model: all_responses(findings, model) for model in (smaller, larger)}
    if not all(nets.values()):
        return decide(claim, steps, (), "not measured", "every run of a network diverged")
    means = {model: [mean(found) for found in runs] for model, runs in nets.items()}
    effect = difference(means[smaller], means[larger], f"mean standard deviation, {larger} - {smaller}")
    words = "; ".join(
        f"{model} mean {format_mean_std(means[model], 3)}, median {format_mean_std(list(map(median, runs)), 3)}"
        for model, runs in nets.items()
    )
    return decide(claim, steps, [effect], words)


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    return [
        compare(claims["residual20"], steps, findings, "resnet20", "plain20"),
        compare(claims["residual56"], steps, findings, "resnet56", "plain56"),
        compare(claims["deeper"], steps, findings, "resnet56", "resnet20"),
    ]


def name_of(found: Mapping[str, Any]) -> str:
    return f"{found['model']}, {found['others']}" if found["others"] else str(found["model"])


def table(findings: Findings) -> Table:
    names = dict.fromkeys(name_of(r) for r in findings["rows"])
    rows = []
    for name in names:
        chosen = [r["responses"] for r in findings["rows"] if name_of(r) == name]
        figures = (
            [mean(v) for v in chosen],
            [median(v) for v in chosen],
            [max(v) for v in chosen],
            [mean(v[1::2]) for v in chosen],  # after the stem, the layers alternate
            [mean(v[2::2]) for v in chosen],
        )
        rows.append((name, str(len(chosen[0])), *(format_mean_std(found, 3) for found in figures)))
    columns = ("network", "layers", "mean std", "median std", "largest std", "mean, first of a unit", "mean, second")
    return Table(columns, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Figure


def draw(findings: Findings, figure: "Figure") -> None:
    panels = figure.subplots(2, 1, sharey=True)
    for axes, depth in zip(panels, (20, 56), strict=True):
        plot_depth(axes, findings, depth)
        quieten(axes)
        axes.set_title(f"{depth} layers", fontsize=9)
        axes.set_xlabel("layers, from largest to smallest response")
        axes.set_ylabel("standard deviation")
        axes.set_xticks([1, *range(depth // 4, depth, depth // 4)])
        axes.legend(frameon=False, fontsize=8)
    panels[0].set_ylim(bottom=0)


def plot_depth(axes: "Axes", findings: Findings, depth: int) -> None:
    """The responses of the networks of a depth from largest to smallest, as in the paper, a line for each seed."""
    seen: set[str] = set()
    for found in findings["rows"]:
        kind, name = found["model"].rstrip("0123456789"), name_of(found)
        if found["model"] != f"{kind}{depth}":
            continue
        ordered = sorted(found["responses"], reverse=True)
        label = None if name in seen else name
        dash = ":" if found["others"] else "-"
        axes.plot(range(1, len(ordered) + 1), ordered, dash, color=COLOURS.get(kind, "#8a9099"), label=label)
        seen.add(name)


# ---------------------------------------------------------------------------------------------------------------------
# Claims


def claims() -> tuple[Claim, ...]:
    def claim(name: str, sentence: str, published: str, against: str) -> Claim:
        tolerance = "the 95 % interval of the difference of the means over layers does not contain 0"
        return Claim(name, sentence, "He 2015, sec. 4.2, Fig. 7", published, tolerance, against)

    return (
        *(
            claim(
                f"residual{depth}",
                f"With {depth} layers, those of the residual network have smaller responses than those of the plain "
                "one.",
                "a figure without numbers",
                "The mean response of the residual network is larger.",
            )
            for depth in (20, 56)
        ),
        claim(
            "deeper",
            "The deeper the residual network, the less each layer changes the signal.",
            "a figure without numbers: 20, 56 and 110 layers",
            "The mean response with 56 layers is larger than with 20.",
        ),
    )


STUDY = Study(
    name="responses",
    title="Responses of residual and plain layers",
    question="Do residual layers change the signal less than plain ones?",
    claims=claims(),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.2, 5.8),
    reading=(
        "The standard deviation of each 3x3 layer's output, after batch norm and before ReLU or addition, from the "
        "largest to the smallest, a line for each seed. Blue is residual, orange plain, dotted a pretrained network. "
        "In the paper blue lies below orange, and blue with 56 layers below blue with 20."
    ),
    departures=("The paper's third network, of 110 layers, is left out because of its cost.",),
    changed=(
        "The first version had one claim for 20 and 56 layers, which is now two. It decided by the mean over layers, "
        "and so do these; the median, by which the order of 56 layers was reversed in the first result, is printed "
        "beside it.",
    ),
    accepts_weights=True,
)
