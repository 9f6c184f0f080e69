"""Whether stacked layers can learn the identity.

He 2015, secs. 1 and 3.1.

The argument for shortcuts: a deeper network could copy a shallower one and use identity mappings for the added layers,
so it need not be worse. Here such networks are constructed, and then stacks of layers are trained to learn the
identity.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network
from skipway.models.resnet import Basic, Plain, initialise, no_shortcut, shortcut_a
from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_of, all_seeds, decide_verdict, format_mean_std, separated
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRA = 6  # added identity units per stage: 20 layers become 56
CHANNELS, SIDE = 16, 16  # of the maps to be reproduced: those of the first stage, cropped to a corner
FAILED = 0.1  # share of the maps' variance; a larger loss does not count as the identity
EQUAL = 1e-4  # of the largest score
KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Plain(CHANNELS, CHANNELS, 1, no_shortcut),
    "residual": lambda: Basic(CHANNELS, CHANNELS, 1, shortcut_a),
}
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}


@dataclass(frozen=True)
class StackTraining:
    """How stacks are trained: numbers of units, steps, maps per step, and number of images that give the maps."""

    depths: tuple[int, ...]
    steps: int
    batch: int
    images: int


STACK_TRAININGS = {
    "tiny": StackTraining((1, 2), 4, 8, 32),
    "small": StackTraining((1, 2, 4, 8, 16, 27), 500, 32, 2048),
    "paper": StackTraining((1, 2, 4, 8, 16, 27, 54), 5000, 64, 8192),
}


def plan(scale: Scale) -> list[Recipe]:
    """The shallow networks of `degradation`."""
    return [training(scale, "plain20"), training(scale, "resnet20")]


# ---------------------------------------------------------------------------------------------------------------------
# Identity units by construction


def make_identity(unit: nn.Module) -> nn.Module:
    """Set the weights of `unit` to the identity for non-negative maps, in evaluation mode, and return it.

    A residual unit's branch is multiplied by 0. A plain unit gets identity kernels, and normalisations with mean 0 and
    variance 1.
    """
    if isinstance(unit, Basic):
        nn.init.zeros_(unit.bn2.weight)
        return unit
    assert isinstance(unit, Plain)
    for convolution, norm in ((unit.conv1, unit.bn1), (unit.conv2, unit.bn2)):
        nn.init.dirac_(convolution.weight)
        nn.init.constant_(norm.weight, math.sqrt(1 + norm.eps))
    return unit


def with_identity_units(net: Network, extra: int) -> Network:
    """`net` with `extra` identity units appended to each stage, in evaluation mode."""
    for stage, channels in zip(net.stages, net.channels, strict=True):
        units = net.get_submodule(stage)
        assert isinstance(units, nn.Sequential)
        kind, shortcut = (Plain, no_shortcut) if isinstance(units[0], Plain) else (Basic, shortcut_a)
        for _ in range(extra):
            units.append(make_identity(kind(channels, channels, 1, shortcut)))
    return net.eval()


@torch.inference_mode()
def same_scores(shallow: Network, deep: Network, images: Tensor) -> float:
    """The largest difference of a score, relative to the largest score."""
    before, after = shallow.eval()(images), deep(images)
    return ((after - before).abs().max() / before.abs().max()).item()


# ---------------------------------------------------------------------------------------------------------------------
# Stacks that learn the identity


def maps_of(net: Network, images: Tensor) -> Tensor:
    """The first stage's maps, which are non-negative: (n, 16, at most SIDE, at most SIDE)."""
    with torch.inference_mode():
        found = torch.cat([net.features(part)[0][..., :SIDE, :SIDE] for part in images.split(256)])
    return found.clone()


def share_lost(stack: nn.Module, maps: Tensor) -> Tensor:
    """The mean squared error between output and input, divided by the variance of the input."""
    return F.mse_loss(stack(maps), maps) / maps.var()


def train_stack(kind: str, depth: int, config: StackTraining, maps: Tensor, held: Tensor, seed: int) -> dict[str, Any]:
    """Train a stack of `depth` units to reproduce `maps`, and measure the share of `held` maps lost.

    SGD with momentum 0.9 and the papers' learning rate of 0.1, decayed linearly to 0. Batch norm uses the batch.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        stack = nn.Sequential(*(KINDS[kind]() for _ in range(depth)))
        initialise(stack)
        learner = torch.optim.SGD(stack.parameters(), lr=0.1, momentum=0.9)
        falling = torch.optim.lr_scheduler.LinearLR(learner, 1.0, 0.0, config.steps)
        curve = [[0, measure_loss(stack, held)]]
        for step in range(1, config.steps + 1):
            learner.zero_grad()
            share_lost(stack, maps[torch.randint(len(maps), (config.batch,))]).backward()
            nn.utils.clip_grad_norm_(stack.parameters(), 1.0)
            learner.step()
            falling.step()
            if step == config.steps or math.log2(step).is_integer():
                curve.append([step, measure_loss(stack, held)])
    return {"kind": kind, "depth": depth, "seed": seed, "curve": curve, "lost": curve[-1][1]}


@torch.no_grad()
def measure_loss(stack: nn.Module, held: Tensor) -> float:
    return float(f"{share_lost(stack, held).item():.4g}")


def analyse(context: ExperimentContext) -> Findings:
    """Differences of scores after adding identity units, and losses of trained stacks, by kind, depth and seed."""
    config = STACK_TRAININGS[context.scale.name]
    copies, stacks = [], []
    for kind, recipe in zip(("plain", "residual"), plan(context.scale), strict=True):
        for trained in context.converged(recipe):
            images, _ = context.images("test", config.images // 8, trained.preprocessing())
            difference = same_scores(trained.net(), with_identity_units(trained.net(), EXTRA), images)
            copies.append({"kind": kind, "seed": trained.run.recipe.seed, "difference": difference})
    for trained in context.converged(plan(context.scale)[1]):
        stacks += train_stacks(context, config, trained)
    return {"copies": copies, "stacks": stacks}


def train_stacks(context: ExperimentContext, config: StackTraining, trained: TrainedNetwork) -> list[dict[str, Any]]:
    """Train stacks of every kind and depth on the maps of one trained network."""
    preprocessing, seed = trained.preprocessing(), trained.run.recipe.seed
    maps, held = (
        maps_of(trained.net(), context.images(split, most, preprocessing)[0])
        for split, most in (("train", config.images), ("test", config.images // 8))
    )

    def one(kind: str, depth: int) -> dict[str, Any]:
        return context.cached(
            f"{kind} {depth}", __file__, [trained.run.key], lambda: train_stack(kind, depth, config, maps, held, seed)
        )

    return [one(kind, depth) for kind in KINDS for depth in config.depths]


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def losses(findings: Findings, kind: str, depth: int) -> list[float]:
    """The losses of the stacks of a kind and depth, by seed."""
    return [stack["lost"] for stack in findings["stacks"] if (stack["kind"], stack["depth"]) == (kind, depth)]


def depths_of(findings: Findings) -> list[int]:
    return sorted({stack["depth"] for stack in findings["stacks"]})


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    if not (findings["copies"] and findings["stacks"]):
        return [decide_verdict(claim, scale, None, "training diverged") for claim in claims.values()]
    difference = max(copy["difference"] for copy in findings["copies"])
    exists = decide_verdict(
        claims["exists"], scale, difference <= EQUAL, f"largest difference of a score {difference:.1e}"
    )
    shallow, *_, deep = depths_of(findings)
    plain = {depth: losses(findings, "plain", depth) for depth in (shallow, deep)}
    residual = losses(findings, "residual", deep)
    fails = separated(plain[shallow], plain[deep])
    words = f"loss with {shallow} and {deep} plain units: "
    words += ", ".join(format_mean_std(plain[depth], 3) for depth in (shallow, deep))
    supported = all_of(separated(residual, plain[deep]), all_seeds([value <= FAILED for value in residual]))
    return [
        exists,
        decide_verdict(claims["plain"], scale, fails, words),
        decide_verdict(
            claims["residual"], scale, supported, f"loss with {deep} residual units: {format_mean_std(residual, 3)}"
        ),
    ]


def table(findings: Findings) -> Table:
    rows = [
        (
            str(depth),
            *(format_mean_std(losses(findings, kind, depth), 3) for kind in KINDS),
            failing_kinds(findings, depth),
        )
        for depth in depths_of(findings)
    ]
    return Table(("units", "loss, plain", "loss, residual", f"fail (more than {FAILED:g})"), rows)


def failing_kinds(findings: Findings, depth: int) -> str:
    """The kinds that lose too much in any seed, as text."""
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
    ends.set_ylabel("share of the variance lost")
    ends.legend(frameon=False)
    course.set_xlabel("step")
    ends.set_title("After training", fontsize=9)
    course.set_title(f"{depths[-1]} units in training", fontsize=9)
    for axes in (ends, course):
        quieten(axes)


STUDY = Study(
    name="identity",
    title="The identity is hard to learn",
    question="Can stacked layers learn the identity?",
    claims=(
        Claim(
            "exists",
            "A deeper network that is no worse exists: plain and residual identity layers can be constructed.",
            "He 2015, sec. 1",
            "in the text only: a solution by construction",
            f"no score differs by more than {EQUAL:g} of the largest",
            "Some score differs by more.",
            shown_from="tiny",
            refuted_from="tiny",
        ),
        Claim(
            "plain",
            "Stacked plain layers have difficulty learning the identity, increasingly with depth.",
            "He 2015, sec. 3.1",
            "in the text only",
            "in every seed the deepest stack loses more than a single unit",
            "The deepest stack loses less than a single unit in every seed.",
        ),
        Claim(
            "residual",
            "Residual units learn the identity at every depth, by driving their branches towards zero.",
            "He 2015, sec. 3.1",
            "in the text only",
            f"in every seed the deepest residual stack loses less than the plain one, and less than {FAILED:g}",
            f"The deepest residual stack loses more than the plain one or more than {FAILED:g} in every seed.",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(8.0, 3.4),
    reading=(
        "The share of the signal's variance that is lost by a stack trained to reproduce its input: 1 is all of it, "
        "below the dotted line the stack counts as the identity. Left: by depth, a dot for each seed. Right: the "
        "deepest stacks during training."
    ),
    departures=(
        "The paper gives the argument without such an experiment.",
        "The stacks are trained on maps of a trained residual network of 20 layers, with mean squared error.",
    ),
)
