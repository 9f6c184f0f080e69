"""AlexNet, VGG, GoogLeNet, ResNet, ResNeXt and DenseNet at equal training: error against what each costs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from skipway.evaluation.plots import quieten
from skipway.models.layers import layers
from skipway.models.published import PUBLISHED
from skipway.study.bench import Bench
from skipway.study.code import code_of
from skipway.study.contest import APART, LEAST
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.turns import relative_times
from skipway.study.verdicts import apart, mean, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTERPARTS = {  # the nets of the papers, by ours; in the papers' order
    "alexnet_small": "alexnet",
    "vgg_small": "vgg16_bn",
    "googlenet_small": "googlenet",
    "resnet20": "resnet34",
    "resnext_small": "resnext50_32x4d",
    "densenet_small": "densenet121",
}
SHARES = {"tiny": 1.0, "small": 0.1, "paper": 1.0}  # of a full training
REFERENCE = "resnet20"  # whose time is 1
EQUAL = ("resnet20", "resnext_small", "densenet_small")  # their multiply-adds differ by less than a tenth
SLOWER = 1.5
BATCH, ROUNDS = {"tiny": 4, "small": 64, "paper": 64}, {"tiny": 1, "small": 9, "paper": 9}
SHORTEST = {"tiny": 0.0, "small": 0.3, "paper": 0.3}  # seconds that a net's turn takes at least
LOOKS = {
    "alexnet_small": ("#5f6670", "o"),
    "vgg_small": ("#E69F00", "s"),
    "googlenet_small": ("#009E73", "^"),
    "resnet20": ("#0072B2", "D"),
    "resnext_small": ("#D55E00", "v"),
    "densenet_small": ("#CC79A7", "P"),
}


def plan(scale: Scale) -> list[Recipe]:
    """The same steps of the same recipe for every net, those that take long first."""
    first = ("vgg_small", "densenet_small", "resnext_small", "googlenet_small", "resnet20", "alexnet_small")
    return [training(scale, model, SHARES[scale.name]) for model in first]


# ---------------------------------------------------------------------------------------------------------------------
# What is measured


def analyse(bench: Bench) -> Findings:
    """By net: cost of one image, time relative to the reference, errors of every seed in per cent."""
    machine = ", ".join(bench.hardware.summary()[key] for key in ("device", "precision"))
    models = [code_of(model) for model in COUNTERPARTS]
    times = bench.keep(f"times on {bench.hardware.summary()}", __file__, models, lambda: times_of(bench))
    nets = {}
    for model in COUNTERPARTS:
        own = bench.of(training(bench.scale, model, SHARES[bench.scale.name]))
        net = bench.fresh(model, 0)
        steps = layers(net, (bench.feeding.channels, bench.feeding.size, bench.feeding.size))
        nets[model] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "multiply_adds": sum(step.multiply_adds for step in steps),
            "times": times[model],
            "train": [round(t.outcome.train_error, 3) for t in own],
            "test": [round(t.outcome.test_error, 3) for t in own],
            "diverged": [t.run.recipe.seed for t in own if t.outcome.diverged],
        }
    return {"machine": machine, "batch": BATCH[bench.scale.name], "nets": nets}


def times_of(bench: Bench) -> dict[str, list[float]]:
    """Of every net and round, the time of an image in inference as a multiple of the reference's."""
    scale, feeding = bench.scale.name, bench.feeding
    nets = {model: bench.fresh(model, 0) for model in COUNTERPARTS}
    images = torch.randn(BATCH[scale], feeding.channels, feeding.size, feeding.size)
    return relative_times(nets, images, bench.hardware, REFERENCE, ROUNDS[scale], SHORTEST[scale])


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    nets = findings["nets"]

    def pair(claim: str, lower: str, higher: str) -> Verdict:
        seen = apart(nets[lower]["test"], nets[higher]["test"], LEAST)
        return settle(claims[claim], scale, seen, f"{of_net(nets, lower)}; {of_net(nets, higher)}")

    return [
        pair("residual-vgg", "resnet20", "vgg_small"),
        pair("googlenet-alexnet", "googlenet_small", "alexnet_small"),
        pair("resnext-resnet", "resnext_small", "resnet20"),
        settle(claims["densenet-resnet"], scale, *as_good(nets)),
        settle(claims["time"], scale, *unequal_times(findings)),
    ]


def as_good(nets: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Whether the densely connected net's error is not above the residual net's."""
    dense, residual = nets["densenet_small"]["test"], nets["resnet20"]["test"]
    said = f"{of_net(nets, 'densenet_small')}; {of_net(nets, 'resnet20')}"
    if min(len(dense), len(residual)) < 2:
        return None, said
    near = max(dense) - min(residual) <= LEAST  # the worst against the best
    return (True if near else None if apart(residual, dense, LEAST) is None else False), said


def unequal_times(findings: Findings) -> tuple[bool | None, str]:
    """Whether the slowest of the nets of equal multiply-adds takes SLOWER times as long as the fastest."""
    nets = findings["nets"]
    middle = {model: statistics.median(nets[model]["times"]) for model in EQUAL}
    slow, fast = max(EQUAL, key=middle.__getitem__), min(EQUAL, key=middle.__getitem__)
    times = sorted(a / b for a, b in zip(nets[slow]["times"], nets[fast]["times"], strict=True))
    cost = nets[slow]["multiply_adds"] / nets[fast]["multiply_adds"]
    said = (
        f"{slow} takes {statistics.median(times):.2f} times as long as {fast} ({times[0]:.2f} to {times[-1]:.2f} over "
        f"{len(times)} rounds) at {cost:.2f} times its multiply-adds; {findings['machine']}"
    )
    return (True if times[0] >= SLOWER else False if times[-1] < SLOWER else None), said


def of_net(nets: Mapping[str, Any], model: str) -> str:
    net = nets[model]
    cost = f"{net['multiply_adds'] / 1e6:.1f} M multiply-adds, {net['parameters'] / 1e6:.2f} M parameters"
    return f"{model} {spread(net['test'], unit=' %')}, {cost}"


def table(findings: Findings) -> Table:
    columns = (
        "net",
        "parameters",
        "multiply-adds",
        f"time, {REFERENCE} = 1",
        "training error, %",
        "test error, %",
        "counterpart on ImageNet: parameters, multiply-adds, top-1 error, %",
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
        spread(net["train"]),
        spread(net["test"]),
        f"{paper}, {published.results[0].top1:.1f}",
    )


def draw(findings: Findings, figure: "Figure") -> None:
    """The same errors against parameters, multiply-adds and time."""
    panels = figure.subplots(1, 3, sharey=True)
    costs = (
        ("parameters", 1e6, "parameters (millions)"),
        ("multiply_adds", 1e6, "multiply-adds of an image (millions)"),
        ("times", 1, f"time of an image, {REFERENCE} = 1"),
    )
    for axes, (key, unit, label) in zip(panels, costs, strict=True):
        for model, net in findings["nets"].items():
            cost = statistics.median(net["times"]) if key == "times" else net[key] / unit
            mark(axes, cost, net["test"], model)
        quieten(axes)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticks())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.margins(x=0.15)
        axes.set_xlabel(label)
    panels[0].set_ylabel("test error (%)")
    panels[2].set_title(findings["machine"], fontsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=8)


def ticks() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def mark(axes: "Axes", cost: float, errors: Sequence[float], model: str) -> None:
    """The mean of the seeds, and a line from the best to the worst of them."""
    colour, shape = LOOKS[model]
    axes.plot([cost, cost], [min(errors), max(errors)], color=colour, linewidth=1.5)
    axes.plot(cost, mean(errors), shape, color=colour, markersize=7, label=model.removesuffix("_small"), linestyle="")


CLAIMS = (
    Claim(
        "residual-vgg",
        "A residual net reaches a lower error than VGG with fewer multiply-adds and parameters.",
        "He 2015, sec. 4.1, Table 3",
        "ImageNet, top-1, ten crops: VGG-16 28.07 % at 15.3 G multiply-adds, ResNet-34 B 24.52 % at 3.6 G",
        APART,
        "VGG's error is the lower one in every seed.",
    ),
    Claim(
        "googlenet-alexnet",
        "GoogLeNet reaches a lower error than AlexNet with a small part of its parameters.",
        "Szegedy 2014, sec. 1",
        "a twelfth of the parameters; torchvision's weights, ImageNet, top-1: 30.2 % against 43.5 %",
        APART,
        "AlexNet's error is the lower one in every seed.",
    ),
    Claim(
        "resnext-resnet",
        "At equal multiply-adds, several paths side by side reach a lower error than one.",
        "Xie 2016, sec. 5.1",
        "ImageNet, top-1, one crop: ResNet-50 23.9 %, ResNeXt-50 (32x4d) 22.2 %",
        APART,
        "ResNeXt's error is the higher one in every seed.",
    ),
    Claim(
        "densenet-resnet",
        "A densely connected net needs about a third of a residual net's parameters for the same error.",
        "Huang 2016, sec. 5, Fig. 4 (middle); sec. 4.3",
        "around a third, in a figure; and CIFAR-10: DenseNet-BC (100, k=12) 4.51 % with 0.8 M, pre-activation "
        "ResNet-1001 4.62 % with 10.2 M",
        f"no seed of DenseNet, with 0.38 of the parameters, is more than {LEAST} points above one of the residual net",
        "DenseNet's error is the higher one in every seed.",
    ),
    Claim(
        "time",
        "Multiply-adds do not tell the time: nets that cost equally many take differently long.",
        "Ma 2018 (ShuffleNet V2, arXiv:1807.11164), sec. 1",
        "said of networks for phones, where groups and many small branches cost time",
        f"of {', '.join(EQUAL)} the slowest takes at least {SLOWER} times as long as the fastest in every round",
        f"The slowest takes less than {SLOWER} times as long as the fastest in every round.",
        refuted_from="small",
    ),
)

STUDY = Study(
    name="family",
    title="Six families of networks at equal training",
    question="Which way of joining layers gives most for its cost?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(9.0, 3.6),
    reading=(
        "Each mark is a family, at the mean test error of its seeds; the line through it goes from the best seed to "
        "the worst. Low is good, and so is left: the same error for less. The three panels differ in what counts as "
        "cost."
    ),
    departures=(
        "The nets are narrow versions for 32 pixels of those in the papers (study/family_nets.py), all with batch "
        "normalisation, without GoogLeNet's auxiliary classifiers; only the residual net is as published.",
        "At small each net is trained for a tenth of the scale's steps, two epochs: who learns fast is ahead then.",
        "One recipe for all, He's for CIFAR; each paper has its own.",
        "Time is that of inference in batches, each net in turn in one process, uncompiled; it belongs to the machine "
        "that is named with it.",
    ),
)
