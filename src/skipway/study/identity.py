"""Whether layers can learn to do nothing (He 2015, secs. 1 and 3.1).

The argument for shortcuts: a deeper net could copy a shallower one and let the added layers do nothing, so that it
need not be worse. Here such nets are built, and then stacks of layers are asked to learn what was written by hand.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.models.resnet import Basic, Plain, initialise, no_shortcut, shortcut_a
from skipway.study.bench import Bench, Trained
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.verdicts import all_of, apart, every, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRA = 6  # units a stage that do nothing: 20 layers become 56
CHANNELS, SIDE = 16, 16  # of the maps that are to be handed on: the first stage's, cut to a corner
FAILED = 0.1  # of the maps' variance; more is no identity
EQUAL = 1e-4  # of the largest score
KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Plain(CHANNELS, CHANNELS, 1, no_shortcut),
    "residual": lambda: Basic(CHANNELS, CHANNELS, 1, shortcut_a),
}
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}


@dataclass(frozen=True)
class Lesson:
    """How stacks are taught: units in each, steps, maps a step, and on how many images' maps in all."""

    depths: tuple[int, ...]
    steps: int
    batch: int
    images: int


LESSONS = {
    "tiny": Lesson((1, 2), 4, 8, 32),
    "small": Lesson((1, 2, 4, 8, 16, 27), 500, 32, 2048),
    "paper": Lesson((1, 2, 4, 8, 16, 27, 54), 5000, 64, 8192),
}


def plan(scale: Scale) -> list[Recipe]:
    """The shallow nets of `degradation`."""
    return [training(scale, "plain20"), training(scale, "resnet20")]


# ---------------------------------------------------------------------------------------------------------------------
# Layers that do nothing, written down


def do_nothing(unit: nn.Module) -> nn.Module:
    """`unit`, set so that in evaluation mode it hands on maps that are nowhere negative.

    A residual unit's branch is multiplied by 0. A plain unit's kernels copy, and its normalisations are those of
    maps with mean 0 and variance 1.
    """
    if isinstance(unit, Basic):
        nn.init.zeros_(unit.bn2.weight)
        return unit
    assert isinstance(unit, Plain)
    for convolution, norm in ((unit.conv1, unit.bn1), (unit.conv2, unit.bn2)):
        nn.init.dirac_(convolution.weight)
        nn.init.constant_(norm.weight, math.sqrt(1 + norm.eps))
    return unit


def lengthened(net: Network, extra: int) -> Network:
    """`net` with `extra` units at the end of each stage that do nothing, in evaluation mode."""
    for stage, channels in zip(net.stages, net.channels, strict=True):
        units = net.get_submodule(stage)
        assert isinstance(units, nn.Sequential)
        kind, shortcut = (Plain, no_shortcut) if isinstance(units[0], Plain) else (Basic, shortcut_a)
        for _ in range(extra):
            units.append(do_nothing(kind(channels, channels, 1, shortcut)))
    return net.eval()


@torch.inference_mode()
def same_scores(shallow: Network, deep: Network, images: Tensor) -> float:
    """The largest difference of a score, over the largest score."""
    before, after = shallow.eval()(images), deep(images)
    return ((after - before).abs().max() / before.abs().max()).item()


# ---------------------------------------------------------------------------------------------------------------------
# Layers that learn to do nothing


def maps_of(net: Network, images: Tensor) -> Tensor:
    """The first stage's maps, nowhere negative: (n, 16, at most SIDE, at most SIDE)."""
    with torch.inference_mode():
        found = torch.cat([net.features(part)[0][..., :SIDE, :SIDE] for part in images.split(256)])
    return found.clone()


def share_lost(stack: nn.Module, maps: Tensor) -> Tensor:
    """The mean square difference between what comes out and what goes in, over the variance of what goes in."""
    return F.mse_loss(stack(maps), maps) / maps.var()


def taught(kind: str, depth: int, lesson: Lesson, maps: Tensor, held: Tensor, seed: int) -> dict[str, Any]:
    """What is lost of `held` maps while a stack of `depth` units learns to hand on `maps`.

    SGD with momentum 0.9 and the papers' rate of 0.1, which falls in a straight line to 0. Batch norm uses the batch.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        stack = nn.Sequential(*(KINDS[kind]() for _ in range(depth)))
        initialise(stack)
        learner = torch.optim.SGD(stack.parameters(), lr=0.1, momentum=0.9)
        falling = torch.optim.lr_scheduler.LinearLR(learner, 1.0, 0.0, lesson.steps)
        curve = [[0, lost(stack, held)]]
        for step in range(1, lesson.steps + 1):
            learner.zero_grad()
            share_lost(stack, maps[torch.randint(len(maps), (lesson.batch,))]).backward()
            nn.utils.clip_grad_norm_(stack.parameters(), 1.0)
            learner.step()
            falling.step()
            if step == lesson.steps or math.log2(step).is_integer():
                curve.append([step, lost(stack, held)])
    return {"kind": kind, "depth": depth, "seed": seed, "curve": curve, "lost": curve[-1][1]}


@torch.no_grad()
def lost(stack: nn.Module, held: Tensor) -> float:
    return float(f"{share_lost(stack, held).item():.4g}")


def analyse(bench: Bench) -> Findings:
    """Whether lengthened nets give the same scores, and what stacks lose after learning, by kind, depth and seed."""
    lesson = LESSONS[bench.scale.name]
    copies, stacks = [], []
    for kind, recipe in zip(("plain", "residual"), plan(bench.scale), strict=True):
        for trained in bench.finished(recipe):
            images, _ = bench.images("test", lesson.images // 8, trained.preprocessing())
            difference = same_scores(trained.net(), lengthened(trained.net(), EXTRA), images)
            copies.append({"kind": kind, "seed": trained.run.recipe.seed, "difference": difference})
    for trained in bench.finished(plan(bench.scale)[1]):
        stacks += lessons(bench, lesson, trained)
    return {"copies": copies, "stacks": stacks}


def lessons(bench: Bench, lesson: Lesson, trained: Trained) -> list[dict[str, Any]]:
    """Every kind and depth on the maps of one trained net."""
    fed, seed = trained.preprocessing(), trained.run.recipe.seed
    maps, held = (
        maps_of(trained.net(), bench.images(split, most, fed)[0])
        for split, most in (("train", lesson.images), ("test", lesson.images // 8))
    )

    def one(kind: str, depth: int) -> dict[str, Any]:
        return bench.keep(
            f"{kind} {depth}", __file__, [trained.run.key], lambda: taught(kind, depth, lesson, maps, held, seed)
        )

    return [one(kind, depth) for kind in KINDS for depth in lesson.depths]


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def losses(findings: Findings, kind: str, depth: int) -> list[float]:
    """By seed."""
    return [stack["lost"] for stack in findings["stacks"] if (stack["kind"], stack["depth"]) == (kind, depth)]


def depths_of(findings: Findings) -> list[int]:
    return sorted({stack["depth"] for stack in findings["stacks"]})


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    if not (findings["copies"] and findings["stacks"]):
        return [settle(claim, scale, None, "the trainings diverged") for claim in claims.values()]
    difference = max(copy["difference"] for copy in findings["copies"])
    exists = settle(claims["exists"], scale, difference <= EQUAL, f"largest difference of a score {difference:.1e}")
    shallow, *_, deep = depths_of(findings)
    plain = {depth: losses(findings, "plain", depth) for depth in (shallow, deep)}
    residual = losses(findings, "residual", deep)
    fails = apart(plain[shallow], plain[deep])
    words = f"lost with {shallow} and {deep} plain units: {spread(plain[shallow], 3)}, {spread(plain[deep], 3)}"
    seen = all_of(apart(residual, plain[deep]), every([value <= FAILED for value in residual]))
    return [
        exists,
        settle(claims["plain"], scale, fails, words),
        settle(claims["residual"], scale, seen, f"lost with {deep} residual units: {spread(residual, 3)}"),
    ]


def table(findings: Findings) -> Table:
    rows = [
        (str(depth), *(spread(losses(findings, kind, depth), 3) for kind in KINDS), failing(findings, depth))
        for depth in depths_of(findings)
    ]
    return Table(("units", "lost, plain", "lost, residual", f"fail (more than {FAILED:g})"), rows)


def failing(findings: Findings, depth: int) -> str:
    """Which kinds lose too much in any seed."""
    return ", ".join(kind for kind in KINDS if max(losses(findings, kind, depth)) > FAILED) or "none"


def draw(findings: Findings, figure: "Figure") -> None:
    ends, course = figure.subplots(1, 2)
    depths = depths_of(findings)
    for kind, colour in COLOURS.items():
        values = [losses(findings, kind, depth) for depth in depths]
        for depth, found in zip(depths, values, strict=True):
            ends.loglog([depth] * len(found), found, "o", color=colour, markersize=4)
        ends.loglog(depths, [sum(v) / len(v) for v in values], "-", color=colour, label=kind)
        for stack in findings["stacks"]:
            if stack["kind"] == kind and stack["depth"] == depths[-1]:
                steps, shares = zip(*stack["curve"], strict=True)
                course.loglog([max(s, 0.5) for s in steps], shares, "-", color=colour, linewidth=1.3)
    ends.axhline(FAILED, color="#8a9099", linestyle=":", linewidth=1)
    ends.set_xticks(depths, [str(depth) for depth in depths])
    ends.minorticks_off()
    ends.set_xlabel("units in the stack")
    ends.set_ylabel("share of the signal that is lost")
    ends.legend(frameon=False)
    course.set_xlabel("step")
    ends.set_title("After learning", fontsize=9)
    course.set_title(f"While {depths[-1]} units learn", fontsize=9)
    for axes in (ends, course):
        quieten(axes)


STUDY = Study(
    name="identity",
    title="Doing nothing is hard to learn",
    question="Can layers learn to hand on what they are given?",
    claims=(
        Claim(
            "exists",
            "A deeper net that is no worse exists: layers that do nothing can be written down, plain and residual.",
            "He 2015, sec. 1",
            "words alone: a solution by construction",
            f"no score differs by more than {EQUAL:g} of the largest",
            "A score differs by more.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "plain",
            "Stacked layers have difficulties in learning the identity, the more the deeper the stack.",
            "He 2015, sec. 3.1",
            "words alone",
            "in every seed the deepest stack loses more than a single unit",
            "The deepest stack loses less than a single unit in every seed.",
        ),
        Claim(
            "residual",
            "Residual units learn it at every depth, by driving their branches towards zero.",
            "He 2015, sec. 3.1",
            "words alone",
            f"in every seed the deepest residual stack loses less than the plain one, and less than {FAILED:g}",
            f"The deepest residual stack loses more than the plain one or more than {FAILED:g} in every seed.",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(8.0, 3.4),
    reading=(
        "How much of a signal is lost on its way through a stack that learnt to hand it on: 1 is all of its variance, "
        "below the dotted line it counts as the identity. Left by depth, a dot a seed; right while the deepest learn."
    ),
    departures=(
        "The paper argues in words and runs no such experiment.",
        "The stacks learn from maps of a trained residual net of 20 layers, by mean square error.",
    ),
)
