"""Removal of units from trained networks, and gradients along single paths.

Veit 2016, arXiv:1605.06431.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skipway.models.base import Network
from skipway.models.resnet import Basic, Bottleneck
from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.pretrained import PretrainedNetwork
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_of, all_seeds, decide_verdict, format_mean_std, mean
from skipway.study.probes.ablation import (
    gradient_shares,
    path_gradient_norms,
    removable_units,
    removed,
    swappable_groups,
    swapped,
    unit_positions,
)
from skipway.study.probes.activations import units_of
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESIDUAL, PLAIN, VGG = "resnet56", "plain56", "vgg14"
COLOURS = {RESIDUAL: "#0072B2", PLAIN: "#D55E00", VGG: "#CC79A7"}
# Points that the median removal may cost, and the error in per cent that counts as ruined (chance is 90). A network
# whose error is as large before any removal has not been trained, and is inconclusive.
HARMLESS, RUINED = 5.0, 75.0
JUMP = 30.0  # points of error between one count and the next that do not count as smooth
CARRIED = 0.95  # of the gradient
TEST_IMAGES = {"tiny": 16, "small": 1000, "paper": 2000}
DRAWS, PATHS = {"tiny": 1, "small": 5, "paper": 10}, {"tiny": 1, "small": 4, "paper": 16}
COUNTS = {"tiny": (1, 2), "small": (1, 2, 4, 6, 8, 12, 16), "paper": (1, 2, 4, 6, 8, 10, 12, 14, 16, 20)}


def plan(scale: Scale) -> list[Recipe]:
    """The deep networks of `degradation`, and a VGG trained for a quarter of the length."""
    return [training(scale, RESIDUAL), training(scale, PLAIN), training(scale, VGG, 0.25)]


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


@torch.inference_mode()
def error(net: Network, images: Tensor, labels: Tensor) -> float:
    """The error in per cent."""
    wrong = sum((net(x).argmax(1) != y).sum().item() for x, y in zip(images.split(250), labels.split(250), strict=True))
    return round(100 * wrong / len(labels), 3)


def ablate(net: Network, images: Tensor, labels: Tensor, scale: Scale, seed: int) -> dict[str, Any]:
    """Errors of the full network, with each unit removed, and of every random draw of removed units and swapped
    pairs, by their number."""
    rng = np.random.default_rng(seed)
    numbers = removable_units(net, images)
    found: dict[str, Any] = {"units": len(unit_positions(net)), "whole": error(net, images, labels)}
    one = {}
    for number in numbers:
        with removed(net, [number]):
            one[number] = error(net, images, labels)
    found["one"] = [[number, value] for number, value in one.items()]
    many: dict[str, list[list[Any]]] = {"cut": [], "swap": []}
    for count in (c for c in COUNTS[scale.name] if c < len(numbers)):
        for _ in range(DRAWS[scale.name]):
            with removed(net, rng.choice(numbers, count, replace=False).tolist()):
                many["cut"].append([count, error(net, images, labels)])
            if groups := swappable_groups(net):
                pairs = [tuple(rng.choice(groups[rng.integers(len(groups))], 2, replace=False)) for _ in range(count)]
                with swapped(net, pairs):
                    many["swap"].append([count, error(net, images, labels)])
    return found | many


def analyse(context: ExperimentContext) -> Findings:
    """Removals and swaps in every network, and paths through the residual ones."""
    rows = [examine_trained(context, trained) for trained in context.trained if not trained.outcome.diverged]
    return {"rows": rows + [examine_pretrained(context, foreign) for foreign in context.pretrained()]}


def examine_trained(context: ExperimentContext, trained: TrainedNetwork) -> dict[str, Any]:
    """The measurements of a network trained here."""
    recipe = trained.run.recipe
    images, labels = context.images("test", TEST_IMAGES[context.scale.name], trained.preprocessing())
    found = cached_examination(context, trained.run.key, trained.net, images, labels, recipe.seed)
    return {"model": recipe.model, "seed": recipe.seed, "others": "", **found}


def examine_pretrained(context: ExperimentContext, foreign: PretrainedNetwork) -> dict[str, Any]:
    """The measurements of a pretrained network."""
    images, labels = foreign.images("test", TEST_IMAGES[context.scale.name])
    found = cached_examination(context, f"{foreign.model} of {foreign.name}", lambda: foreign.net, images, labels, 0)
    return {"model": foreign.model, "seed": 0, "others": foreign.name, **found}


def cached_examination(
    context: ExperimentContext, key: str, net: Callable[[], Network], images: Tensor, labels: Tensor, seed: int
) -> dict[str, Any]:
    """The result of `examine`, cached for the network identified by `key`."""
    return context.cached("operated", __file__, [key], lambda: examine(net(), images, labels, context.scale, seed))


def examine(net: Network, images: Tensor, labels: Tensor, scale: Scale, seed: int) -> dict[str, Any]:
    """Removals and swaps in a network and, if all units apply ReLU to a sum, the paths through it."""
    found = ablate(net, images, labels, scale, seed)
    if all(isinstance(unit, Basic | Bottleneck) for unit in units_of(net)):
        found["paths"] = path_gradient_norms(net, images[:32], labels[:32], PATHS[scale.name], seed)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def pick(findings: Findings, model: str) -> list[dict[str, Any]]:
    """The runs of `model` trained here, by seed."""
    return [row for row in findings["rows"] if row["model"] == model and not row["others"]]


def median_of_one(row: Mapping[str, Any]) -> float:
    """The median error with one unit removed; that of the full network if no unit can be removed."""
    return float(np.median([value for _, value in row["one"]])) if row["one"] else row["whole"]


def by_count(row: Mapping[str, Any], kind: str) -> dict[int, float]:
    """The mean error by the number of units removed or pairs swapped, from 0."""
    counts = sorted({count for count, _ in row[kind]})
    return {0: row["whole"]} | {n: mean([value for count, value in row[kind] if count == n]) for n in counts}


def smooth(row: Mapping[str, Any], kind: str) -> bool:
    """Whether the error rises from the first count to the last without a jump."""
    values = list(by_count(row, kind).values())
    return values[-1] > values[0] and bool(max(np.diff(values), default=0) < JUMP)


def reach(row: Mapping[str, Any]) -> int:
    """The maximum length of the paths that carry 95 % of the gradient."""
    return int(np.searchsorted(np.cumsum(gradient_shares(row["paths"])), CARRIED))


def is_trained(rows: list[dict[str, Any]]) -> bool:
    """Whether all networks are better than ruined before anything is removed."""
    return all(row["whole"] < RUINED for row in rows)


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    residual, plain, vgg = (pick(findings, model) for model in (RESIDUAL, PLAIN, VGG))
    if not (residual and plain and vgg):
        return [decide_verdict(claim, scale, None, "all runs of a network diverged") for claim in claims.values()]
    rises = [median_of_one(row) - row["whole"] for row in residual]
    ruined = [all_seeds([median_of_one(row) > RUINED for row in rows]) for rows in (plain, vgg)]
    one = (
        all_of(all_seeds([rise < HARMLESS for rise in rises]), *ruined)
        if is_trained([*residual, *plain, *vgg])
        else None
    )
    words = f"the median removal costs {RESIDUAL} {format_mean_std(rises)} points; error of {PLAIN} "
    plain_error, vgg_error = (format_mean_std([median_of_one(row) for row in rows]) for rows in (plain, vgg))
    words += f"{plain_error} %, of {VGG} {vgg_error} %"
    verdicts = [decide_verdict(claims["one"], scale, one, words)]
    for kind in ("cut", "swap"):
        supported = all_seeds([smooth(row, kind) for row in residual]) if is_trained(residual) else None
        means = {n: mean([by_count(row, kind)[n] for row in residual]) for n in by_count(residual[0], kind)}
        listed = ", ".join(f"{n}: {value:.1f}" for n, value in means.items())
        verdicts.append(
            decide_verdict(claims[kind], scale, supported, f"mean error of {RESIDUAL} in % by count: {listed}")
        )
    lengths = [reach(row) for row in residual]
    short = all_seeds([length < row["units"] / 2 for length, row in zip(lengths, residual, strict=True)])
    words = f"paths of at most {', '.join(map(str, lengths))} of {residual[0]['units']} units carry 95 %, by seed"
    return [*verdicts, decide_verdict(claims["paths"], scale, short if is_trained(residual) else None, words)]


def name_of(row: Mapping[str, Any]) -> str:
    return f"{row['model']}, {row['others']}" if row["others"] else f"{row['model']}, seed {row['seed']}"


def table(findings: Findings) -> Table:
    rows = [
        (
            name_of(row),
            f"{row['whole']:.2f}",
            f"{median_of_one(row):.2f}",
            f"{max((value for _, value in row['one']), default=row['whole']):.2f}",
            f"{by_count(row, 'cut')[max(by_count(row, 'cut'))]:.2f} ({max(by_count(row, 'cut'))})",
            f"{by_count(row, 'swap')[max(by_count(row, 'swap'))]:.2f} ({max(by_count(row, 'swap'))})",
            f"{reach(row)} of {row['units']}" if "paths" in row else "–",
        )
        for row in findings["rows"]
    ]
    columns = (
        "network",
        "error, full network, %",
        "median, one removed",
        "worst, one removed",
        "most removed",
        "most swapped",
        "95 % of the gradient",
    )
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    one, many, paths = figure.subplots(1, 3)
    for row in findings["rows"]:
        colour, name = COLOURS.get(row["model"], "#8a9099"), name_of(row)
        mark = ":" if row["others"] else "-"
        label = name if row["others"] else row["model"] if row["seed"] == 0 else None
        if row["one"]:
            numbers, values = zip(*row["one"], strict=True)
            one.plot(
                np.array(numbers) + 1, values, f"o{mark}", color=colour, markersize=2.5, linewidth=0.8, label=label
            )
        if row["model"] == RESIDUAL:
            many.plot(*zip(*by_count(row, "cut").items(), strict=True), f"o{mark}", color=colour, markersize=3)
            many.plot(*zip(*by_count(row, "swap").items(), strict=True), f"s{mark}", color="#009E73", markersize=3)
        if "paths" in row:
            shares = [100 * share for share in gradient_shares(row["paths"])]
            paths.plot(range(len(shares)), shares, mark, color=colour)
            units = row["units"]
            odds = [100 * math.comb(units, k) / 2**units for k in range(units + 1)]
            paths.plot(range(units + 1), odds, "--", color="#8a9099", linewidth=1)
    many.set_xticks(sorted({0, *(count for row in findings["rows"] for count, _ in row["cut"])}))
    one.set_ylim(top=130)
    one.set_yticks(range(0, 101, 20))
    one.legend(frameon=False, fontsize=7, loc="upper left", ncols=2)
    for axes, title, x, y in (
        (one, "One unit removed", "unit", "error (%)"),
        (many, f"{RESIDUAL}: removed blue, swapped green", "number", "error (%)"),
        (paths, "Gradient by path length (grey: paths)", "branches on the path", "share (%)"),
    ):
        quieten(axes)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=0)


def claims() -> tuple[Claim, ...]:
    def claim(name: str, sentence: str, section: str, published: str, tolerance: str, refuted: str) -> Claim:
        return Claim(name, sentence, f"Veit 2016, {section}", published, tolerance, refuted)

    return (
        claim(
            "one",
            "Removing one unit at test time hardly changes a residual network's error, and ruins a plain network and "
            "VGG.",
            "sec. 4.1, Fig. 3",
            "a figure: 110 layers hardly change, a VGG of 15 falls to chance",
            f"the median removal costs less than {HARMLESS:g} points, and leaves plain networks with over {RUINED:g} % "
            "error",
            "The median removal costs the residual network more, or the plain ones less.",
        ),
        claim(
            "cut",
            "The error rises smoothly with the number of units removed.",
            "sec. 4.2, Fig. 5 (a)",
            "a figure",
            f"it rises, by less than {JUMP:g} points from one count to the next",
            "It does not rise, or it jumps.",
        ),
        claim(
            "swap",
            "The error rises smoothly with the number of units swapped.",
            "sec. 4.3, Fig. 5 (b)",
            "a figure, by Kendall's tau",
            f"it rises, by less than {JUMP:g} points from one count to the next",
            "It does not rise, or it jumps.",
        ),
        claim(
            "paths",
            "The paths that carry the gradient in training are short, although most paths are not.",
            "sec. 4.4, Fig. 6",
            "54 units: almost all gradient from paths of 5 to 17",
            "the paths that carry 95 % of the gradient pass through less than half of the branches",
            "They pass through half of the branches or more.",
        ),
    )


STUDY = Study(
    name="lesion",
    title="Residual networks are robust to the removal of a unit",
    question="What happens when a unit is removed from a trained network?",
    claims=claims(),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(10.5, 3.4),
    reading=(
        "Left: the error with one unit removed, for each unit. Middle: the error by the number of units removed or "
        "pairs swapped. Right: the share of the gradient carried by paths of each length, and the share of all paths "
        "(dashed). Dotted is a pretrained network."
    ),
    departures=(
        "The networks have 56 layers instead of 110; VGG is a small one of 14 layers with batch norm.",
        "Errors are measured on a part of the test images; units that change the shape cannot be removed from plain "
        "networks.",
        "Swaps are counted in pairs; the paper gives Kendall's tau.",
    ),
    accepts_weights=True,
)
