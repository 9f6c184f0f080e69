"""Error and cost of AlexNet, VGG, GoogLeNet, ResNet, ResNeXt and DenseNet, trained equally."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import layers
from skipway.reporting.svg import quieten
from skipway.study.engine.code_hash import code_of
from skipway.study.engine.comparison import APART, LEAST
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Effect, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import above, decide, difference, format_mean_std, mean
from skipway.study.probes.timing import relative_times
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTERPARTS = {  # the papers' networks by ours, ordered by year of publication
    "alexnet_small": "alexnet",
    "vgg_small": "vgg16_bn",
    "googlenet_small": "googlenet",
    "resnet20": "resnet34",
    "resnext_small": "resnext50_32x4d",
    "densenet_small": "densenet121",
}
REFERENCE = "resnet20"  # times are relative to it
EQUAL = ("resnet20", "resnext_small", "densenet_small")  # multiply-adds within 10 % of each other
SLOWER = 1.5
BATCH, ROUNDS = {"tiny": 4, "small": 64, "paper": 64}, {"tiny": 1, "small": 9, "paper": 9}
SHORTEST = {"tiny": 0.0, "small": 0.3, "paper": 0.3}  # minimum seconds of one measurement
STYLES = {
    "alexnet_small": ("#5f6670", "o"),
    "vgg_small": ("#E69F00", "s"),
    "googlenet_small": ("#009E73", "^"),
    "resnet20": ("#0072B2", "D"),
    "resnext_small": ("#D55E00", "v"),
    "densenet_small": ("#CC79A7", "P"),
}


def plan(scale: Scale) -> list[Recipe]:
    """The same steps of the same recipe for every network, the slowest networks first."""
    first = ("vgg_small", "densenet_small", "resnext_small", "googlenet_small", "resnet20", "alexnet_small")
    return [training(scale, model) for model in first]


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def analyse(context: ExperimentContext) -> Findings:
    """By network: cost of one image, time relative to the reference, errors of every seed in per cent."""
    machine = ", ".join(context.hardware.summary()[key] for key in ("device", "precision"))
    models = [code_of(model) for model in COUNTERPARTS]
    times = context.cached(f"times on {context.hardware.summary()}", __file__, models, lambda: times_of(context))
    nets = {}
    for model in COUNTERPARTS:
        own = context.trainings(training(context.scale, model))
        net = context.untrained(model, 0)
        steps = layers(net, (context.preprocessing.channels, context.preprocessing.size, context.preprocessing.size))
        nets[model] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "multiply_adds": sum(step.multiply_adds for step in steps),
            "times": times[model],
            "train": [round(t.outcome.train_error, 3) for t in own],
            "test": [round(t.outcome.test_error, 3) for t in own],
            "diverged": [t.run.recipe.seed for t in own if t.outcome.diverged],
        }
    return {"machine": machine, "batch": BATCH[context.scale.name], "nets": nets}


def times_of(context: ExperimentContext) -> dict[str, list[float]]:
    """By network and round, the inference time of an image as a multiple of the reference's."""
    scale, preprocessing = context.scale.name, context.preprocessing
    nets = {model: context.untrained(model, 0) for model in COUNTERPARTS}
    images = torch.randn(BATCH[scale], preprocessing.channels, preprocessing.size, preprocessing.size)
    return relative_times(nets, images, context.hardware, REFERENCE, ROUNDS[scale], SHORTEST[scale])


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    nets = findings["nets"]

    def pair(claim: str, lower: str, higher: str) -> Verdict:
        effect = difference(
            nets[lower]["test"], nets[higher]["test"], f"test error, {higher} - {lower}", LEAST, "points"
        )
        return decide(claims[claim], steps, [effect], f"{of_net(nets, lower)}; {of_net(nets, higher)}")

    dense = f"{of_net(nets, 'densenet_small')}; {of_net(nets, 'resnet20')}"
    return [
        pair("residual-vgg", "resnet20", "vgg_small"),
        pair("googlenet-alexnet", "googlenet_small", "alexnet_small"),
        pair("resnext-resnet", "resnext_small", "resnet20"),
        decide(claims["densenet-resnet"], steps, [densenet_allowance(nets)], dense),
        compare_times(claims["time"], findings),
    ]


def densenet_allowance(nets: Mapping[str, Any]) -> Effect:
    """By how much DenseNet's error is below what the claim allows: LEAST points above the residual network's."""
    allowed = [error + LEAST for error in nets["resnet20"]["test"]]
    what = f"test error, resnet20 + {LEAST} - densenet_small"
    return difference(nets["densenet_small"]["test"], allowed, what, unit="points")


def compare_times(claim: Claim, findings: Findings) -> Verdict:
    """Whether, at equal multiply-adds, the slowest network takes SLOWER times as long as the fastest."""
    nets = findings["nets"]
    middle = {model: statistics.median(nets[model]["times"]) for model in EQUAL}
    slow, fast = max(EQUAL, key=middle.__getitem__), min(EQUAL, key=middle.__getitem__)
    times = [a / b for a, b in zip(nets[slow]["times"], nets[fast]["times"], strict=True)]
    cost = nets[slow]["multiply_adds"] / nets[fast]["multiply_adds"]
    text = (
        f"{slow} takes {statistics.median(times):.2f} times as long as {fast} ({min(times):.2f} to {max(times):.2f} "
        f"over {len(times)} rounds) at {cost:.2f} times its multiply-adds; {findings['machine']}"
    )
    what = f"time of {slow} over {fast}, minus {SLOWER}, over {len(times)} rounds"
    return decide(claim, 0, [replace(above(SLOWER, times, what), over="rounds")], text)


def of_net(nets: Mapping[str, Any], model: str) -> str:
    net = nets[model]
    cost = f"{net['multiply_adds'] / 1e6:.1f} M multiply-adds, {net['parameters'] / 1e6:.2f} M parameters"
    return f"{model} {format_mean_std(net['test'], unit=' %')}, {cost}"


def table(findings: Findings) -> Table:
    columns = (
        "network",
        "parameters",
        "multiply-adds",
        f"time, {REFERENCE} = 1",
        "training error, %",
        "test error, %",
        "paper's network on ImageNet: parameters, multiply-adds, top-1 error, %",
    )
    return Table(columns, [row(model, net) for model, net in findings["nets"].items()])


def row(model: str, net: Mapping[str, Any]) -> tuple[str, ...]:
    published = PUBLISHED[COUNTERPARTS[model]]
    assert published.parameters is not None and published.multiply_adds is not None
    paper = f"{COUNTERPARTS[model]}: {published.parameters / 1e6:.1f} M, {published.multiply_adds / 1e9:.2f} G"
    name = f"{model} (diverged: seed {', '.join(map(str, net['diverged']))})" if net["diverged"] else model
    return (
        name,
        f"{net['parameters']:,}",
        f"{net['multiply_adds'] / 1e6:.1f} M",
        f"{statistics.median(net['times']):.2f}",
        format_mean_std(net["train"]),
        format_mean_std(net["test"]),
        f"{paper}, {published.results[0].top1:.1f}",
    )


def draw(findings: Findings, figure: "Figure") -> None:
    """The errors against parameters, multiply-adds and time, one below the other."""
    panels = figure.subplots(3, 1, sharey=True)
    costs = (
        ("parameters", 1e6, "parameters (millions)"),
        ("multiply_adds", 1e6, "multiply-adds per image (millions)"),
        ("times", 1, f"time per image, {REFERENCE} = 1\n({findings['machine']})"),
    )
    for axes, (key, unit, label) in zip(panels, costs, strict=True):
        for model, net in findings["nets"].items():
            cost = statistics.median(net["times"]) if key == "times" else net[key] / unit
            plot_network(axes, cost, net["test"], model)
        quieten(axes)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticks())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.margins(x=0.15)
        axes.set_xlabel(label)
        axes.set_ylabel("test error (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)


def ticks() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def plot_network(axes: "Axes", cost: float, errors: Sequence[float], model: str) -> None:
    """Plot the mean of the seeds, and a line from the best to the worst seed."""
    colour, shape = STYLES[model]
    axes.plot([cost, cost], [min(errors), max(errors)], color=colour, linewidth=1.5)
    axes.plot(cost, mean(errors), shape, color=colour, markersize=7, label=model.removesuffix("_small"), linestyle="")


CLAIMS = (
    Claim(
        "residual-vgg",
        "A residual network has a lower error than VGG with fewer multiply-adds and parameters.",
        "He 2015, sec. 4.1, Table 3",
        "ImageNet, top-1, ten crops: VGG-16 28.07 % at 15.3 G multiply-adds, ResNet-34 B 24.52 % at 3.6 G",
        APART,
        "VGG has the lower error.",
        published_steps=600_000,
    ),
    Claim(
        "googlenet-alexnet",
        "GoogLeNet has a lower error than AlexNet with a small fraction of its parameters.",
        "Szegedy 2014, sec. 1",
        "a twelfth of the parameters; torchvision's weights, ImageNet, top-1: 30.2 % and 43.5 %",
        APART,
        "AlexNet has the lower error.",
        published_steps=0,
    ),
    Claim(
        "resnext-resnet",
        "At equal multiply-adds, several parallel paths have a lower error than one.",
        "Xie 2016, sec. 5.1",
        "ImageNet, top-1, one crop: ResNet-50 23.9 %, ResNeXt-50 (32x4d) 22.2 %",
        APART,
        "ResNeXt has the higher error.",
        published_steps=450_000,
    ),
    Claim(
        "densenet-resnet",
        "DenseNet needs about a third of a residual network's parameters for the same error.",
        "Huang 2016, sec. 5, Fig. 4 (middle); sec. 4.3",
        "about a third, in a figure; CIFAR-10: DenseNet-BC (100, k=12) 4.51 % with 0.8 M, pre-activation "
        "ResNet-1001 4.62 % with 10.2 M",
        f"with 0.38 of the parameters the mean of DenseNet is less than {LEAST} points above resnet20's, and the 95 % "
        "interval of the difference confirms it",
        f"DenseNet has an error more than {LEAST} points higher.",
        published_steps=234_600,
    ),
    Claim(
        "time",
        "Multiply-adds do not determine the time: networks with equal multiply-adds differ in speed.",
        "Ma 2018 (ShuffleNet V2, arXiv:1807.11164), sec. 1",
        "stated for mobile networks, where groups and many small branches cost time",
        f"of {', '.join(EQUAL)} the slowest takes at least {SLOWER} times as long as the fastest, on average over the "
        "rounds and by its 95 % interval",
        f"The slowest takes less than {SLOWER} times as long as the fastest.",
        fewest_steps=0,
        published_steps=0,
    ),
)

STUDY = Study(
    name="family",
    title="Six families of networks, trained equally",
    question="Which architecture has the lowest error for its cost?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(4.8, 8.6),
    reading=(
        "Each marker is one family, at the mean test error of its seeds; the vertical line spans the seeds. Lower and "
        "further left is better. The three panels differ in the measure of cost."
    ),
    departures=(
        "The networks are narrow versions of the papers' for 32 pixels (study/networks/cifar_families.py), all "
        "with batch normalisation and without GoogLeNet's auxiliary classifiers; only the residual network is as "
        "published.",
        "At scale small each network is trained for 4,000 steps, about ten epochs, which favours networks that learn "
        "fast.",
        "All networks use the recipe of He 2015 for CIFAR; each paper has its own.",
        "Time is that of batched inference without compilation, the networks taking turns in one process; it applies "
        "to the machine named with it.",
    ),
    changed=(
        "In a first run VGG had 90 % error, since its hidden linear layers had no normalisation and died at the "
        "learning rate shared by all; they are followed by batch normalisation since.",
        "A first result at scale small was of 400 steps, one epoch, with two seeds. Scale small is now ten times as "
        "long. The claims are as before; that on DenseNet compared its worst seed with the best one of resnet20, and "
        "now the means, by the interval of their difference.",
    ),
)
