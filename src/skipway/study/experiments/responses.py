"""Standard deviations of layer responses with and without shortcuts.

He 2015, sec. 4.2, Fig. 7.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_of, decide_verdict, format_mean_std, mean, separated
from skipway.study.probes.activations import forward_hooks
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("plain56", "resnet56", "plain20", "resnet20")
COLOURS = {"plain56": "#D55E00", "resnet56": "#0072B2", "plain20": "#E69F00", "resnet20": "#56B4E9"}
IMAGES = {"tiny": 16, "small": 512, "paper": 2048}


def plan(scale: Scale) -> list[Recipe]:
    """The runs of `degradation`."""
    return [training(scale, model) for model in MODELS]


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


def means(findings: Findings, model: str) -> list[float]:
    """The mean over layers, by seed, of the networks trained here."""
    return [mean(r["responses"]) for r in findings["rows"] if r["model"] == model and not r["others"]]


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    found = {model: means(findings, model) for model in MODELS}
    words = "mean standard deviation over layers: " + ", ".join(
        f"{model} {format_mean_std(v, 3)}" for model, v in found.items()
    )
    smaller = all_of(separated(found["resnet20"], found["plain20"]), separated(found["resnet56"], found["plain56"]))
    deeper = separated(found["resnet56"], found["resnet20"])
    return [
        decide_verdict(claims["residual"], scale, smaller, words),
        decide_verdict(claims["deeper"], scale, deeper, words),
    ]


def name_of(found: Mapping[str, Any]) -> str:
    return f"{found['model']}, {found['others']}" if found["others"] else str(found["model"])


def table(findings: Findings) -> Table:
    names = dict.fromkeys(name_of(r) for r in findings["rows"])
    rows = []
    for name in names:
        chosen = [r["responses"] for r in findings["rows"] if name_of(r) == name]
        rows.append(
            (
                name,
                str(len(chosen[0])),
                format_mean_std([mean(v) for v in chosen], 3),
                format_mean_std([max(v) for v in chosen], 3),
            )
        )
    return Table(("network", "layers", "mean std", "largest std"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    in_order, by_size = figure.subplots(1, 2, sharey=True)
    seen: set[str] = set()
    for found in findings["rows"]:
        name, colour = name_of(found), COLOURS.get(found["model"], "#8a9099")
        dash = ":" if found["others"] else "-" if found["model"].startswith("resnet") else "--"
        label = name if name not in seen else None
        seen.add(name)
        layers = range(1, len(found["responses"]) + 1)
        in_order.plot(layers, found["responses"], dash, color=colour, linewidth=1.3, label=label)
        by_size.plot(layers, sorted(found["responses"], reverse=True), dash, color=colour, linewidth=1.3)
    for axes, words in ((in_order, "layer"), (by_size, "layers, by size")):
        quieten(axes)
        axes.set_xlabel(words)
    in_order.set_ylabel("standard deviation of the response")
    in_order.set_ylim(bottom=0)
    in_order.legend(frameon=False, fontsize=8)


STUDY = Study(
    name="responses",
    title="Residual layers have smaller responses",
    question="Do residual layers change the signal less than plain ones?",
    claims=(
        Claim(
            "residual",
            "The layers of residual networks have smaller responses than those of plain networks.",
            "He 2015, sec. 4.2, Fig. 7",
            "a figure without numbers",
            "the mean standard deviation is smaller in every seed, with 20 and with 56 layers",
            "The mean standard deviation of the residual network is larger in every seed, with 20 or with 56 layers.",
        ),
        Claim(
            "deeper",
            "The deeper the residual network, the less each layer changes the signal.",
            "He 2015, sec. 4.2, Fig. 7",
            "a figure without numbers: 20, 56 and 110 layers",
            "the mean standard deviation with 56 layers is smaller than with 20, in every seed",
            "The mean standard deviation with 56 layers is larger in every seed.",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(8.0, 3.4),
    reading=(
        "The standard deviation of each 3x3 layer's output, after batch norm and before ReLU or addition: left in "
        "layer order, right from largest to smallest. Solid is residual, dashed plain, dotted a pretrained network."
    ),
    departures=("The paper's third network, of 110 layers, is left out because of its cost.",),
    accepts_weights=True,
)
