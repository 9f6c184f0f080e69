"""What is lost with a unit: little from a residual net, all from a plain one (Veit 2016, arXiv:1605.06431)."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skipway.evaluation.plots import quieten
from skipway.models.contract import Network
from skipway.models.resnet import Basic, Bottleneck
from skipway.study.bench import Bench, Trained
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.foreign import Foreign
from skipway.study.signals import units_of
from skipway.study.surgery import alike, along_paths, carried, cut, cuttable, places, swapped
from skipway.study.verdicts import all_of, every, mean, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESIDUAL, PLAIN, VGG = "resnet56", "plain56", "vgg14"
COLOURS = {RESIDUAL: "#0072B2", PLAIN: "#D55E00", VGG: "#CC79A7"}
# Points that the median cut may cost, and the error in per cent that counts as ruined (guessing is 90). A net whose
# error is as large before anything is cut has not been trained, and tells nothing.
HARMLESS, RUINED = 5.0, 75.0
JUMP = 30.0  # points of error between one count and the next that count as no longer smooth
CARRIED = 0.95  # of the gradient
JUDGED = {"tiny": 16, "small": 1000, "paper": 2000}
DRAWS, PATHS = {"tiny": 1, "small": 5, "paper": 10}, {"tiny": 1, "small": 4, "paper": 16}
COUNTS = {"tiny": (1, 2), "small": (1, 2, 4, 6, 8, 12, 16), "paper": (1, 2, 4, 6, 8, 10, 12, 14, 16, 20)}


def plan(scale: Scale) -> list[Recipe]:
    """The deep nets of `degradation`, and a VGG for a quarter of the length."""
    return [training(scale, RESIDUAL), training(scale, PLAIN), training(scale, VGG, 0.25)]


# ---------------------------------------------------------------------------------------------------------------------
# What is measured


@torch.inference_mode()
def error(net: Network, images: Tensor, labels: Tensor) -> float:
    """In per cent."""
    wrong = sum((net(x).argmax(1) != y).sum().item() for x, y in zip(images.split(250), labels.split(250), strict=True))
    return round(100 * wrong / len(labels), 3)


def operated(net: Network, images: Tensor, labels: Tensor, scale: Scale, seed: int) -> dict[str, Any]:
    """Errors whole, with each unit cut, and by how many units are cut and pairs swapped, all draws."""
    rng = np.random.default_rng(seed)
    numbers = cuttable(net, images)
    found: dict[str, Any] = {"units": len(places(net)), "whole": error(net, images, labels)}
    one = {}
    for number in numbers:
        with cut(net, [number]):
            one[number] = error(net, images, labels)
    found["one"] = [[number, value] for number, value in one.items()]
    many: dict[str, list[list[Any]]] = {"cut": [], "swap": []}
    for count in (c for c in COUNTS[scale.name] if c < len(numbers)):
        for _ in range(DRAWS[scale.name]):
            with cut(net, rng.choice(numbers, count, replace=False).tolist()):
                many["cut"].append([count, error(net, images, labels)])
            if groups := alike(net):
                pairs = [tuple(rng.choice(groups[rng.integers(len(groups))], 2, replace=False)) for _ in range(count)]
                with swapped(net, pairs):
                    many["swap"].append([count, error(net, images, labels)])
    return found | many


def analyse(bench: Bench) -> Findings:
    """Operations on every net, and paths through the residual ones."""
    rows = [examined(bench, trained) for trained in bench.trained if not trained.outcome.diverged]
    return {"rows": rows + [examined_foreign(bench, foreign) for foreign in bench.others()]}


def examined(bench: Bench, trained: Trained) -> dict[str, Any]:
    """One of our own trainings."""
    recipe = trained.run.recipe
    images, labels = bench.images("test", JUDGED[bench.scale.name], trained.preprocessing())
    found = kept(bench, trained.run.key, trained.net, images, labels, recipe.seed)
    return {"model": recipe.model, "seed": recipe.seed, "others": "", **found}


def examined_foreign(bench: Bench, foreign: Foreign) -> dict[str, Any]:
    """Others' network."""
    images, labels = foreign.images("test", JUDGED[bench.scale.name])
    found = kept(bench, f"{foreign.model} of {foreign.name}", lambda: foreign.net, images, labels, 0)
    return {"model": foreign.model, "seed": 0, "others": foreign.name, **found}


def kept(
    bench: Bench, mark: str, net: Callable[[], Network], images: Tensor, labels: Tensor, seed: int
) -> dict[str, Any]:
    """What `examine` finds, measured once for the network that `mark` stands for."""
    return bench.keep("operated", __file__, [mark], lambda: examine(net(), images, labels, bench.scale, seed))


def examine(net: Network, images: Tensor, labels: Tensor, scale: Scale, seed: int) -> dict[str, Any]:
    """Operations on a net and, where all of its units rectify a sum, the paths through it."""
    found = operated(net, images, labels, scale, seed)
    if all(isinstance(unit, Basic | Bottleneck) for unit in units_of(net)):
        found["paths"] = along_paths(net, images[:32], labels[:32], PATHS[scale.name], seed)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def pick(findings: Findings, model: str) -> list[dict[str, Any]]:
    """Our own trainings of `model`, by seed."""
    return [row for row in findings["rows"] if row["model"] == model and not row["others"]]


def median_of_one(row: Mapping[str, Any]) -> float:
    """The median error with one unit cut; whole where none can be."""
    return float(np.median([value for _, value in row["one"]])) if row["one"] else row["whole"]


def by_count(row: Mapping[str, Any], kind: str) -> dict[int, float]:
    """The mean error by how many are cut or swapped, from 0 on."""
    counts = sorted({count for count, _ in row[kind]})
    return {0: row["whole"]} | {n: mean([value for count, value in row[kind] if count == n]) for n in counts}


def smooth(row: Mapping[str, Any], kind: str) -> bool:
    """Whether the error rises from the first count to the last, without a jump."""
    values = list(by_count(row, kind).values())
    return values[-1] > values[0] and bool(max(np.diff(values), default=0) < JUMP)


def reach(row: Mapping[str, Any]) -> int:
    """The length that paths with 95 % of the gradient do not exceed."""
    return int(np.searchsorted(np.cumsum(carried(row["paths"])), CARRIED))


def is_trained(rows: list[dict[str, Any]]) -> bool:
    """Whether all have something to lose."""
    return all(row["whole"] < RUINED for row in rows)


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    residual, plain, vgg = (pick(findings, model) for model in (RESIDUAL, PLAIN, VGG))
    if not (residual and plain and vgg):
        return [settle(claim, scale, None, "of a net, every training diverged") for claim in claims.values()]
    rises = [median_of_one(row) - row["whole"] for row in residual]
    ruined = [every([median_of_one(row) > RUINED for row in rows]) for rows in (plain, vgg)]
    one = all_of(every([rise < HARMLESS for rise in rises]), *ruined) if is_trained([*residual, *plain, *vgg]) else None
    words = f"the median cut costs {RESIDUAL} {spread(rises)} points; error of {PLAIN} "
    words += (
        f"{spread([median_of_one(row) for row in plain])} %, of {VGG} {spread([median_of_one(row) for row in vgg])} %"
    )
    verdicts = [settle(claims["one"], scale, one, words)]
    for kind in ("cut", "swap"):
        seen = every([smooth(row, kind) for row in residual]) if is_trained(residual) else None
        means = {n: mean([by_count(row, kind)[n] for row in residual]) for n in by_count(residual[0], kind)}
        listed = ", ".join(f"{n}: {value:.1f}" for n, value in means.items())
        verdicts.append(settle(claims[kind], scale, seen, f"mean error of {RESIDUAL} in % by count: {listed}"))
    lengths = [reach(row) for row in residual]
    short = every([length < row["units"] / 2 for length, row in zip(lengths, residual, strict=True)])
    words = f"of {residual[0]['units']} units, paths of at most {', '.join(map(str, lengths))} carry 95 %, by seed"
    return [*verdicts, settle(claims["paths"], scale, short if is_trained(residual) else None, words)]


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
        "net",
        "error whole, %",
        "median, one cut",
        "worst, one cut",
        "most cut",
        "most swapped",
        "95 % of gradient",
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
            shares = [100 * share for share in carried(row["paths"])]
            paths.plot(range(len(shares)), shares, mark, color=colour)
            units = row["units"]
            odds = [100 * math.comb(units, k) / 2**units for k in range(units + 1)]
            paths.plot(range(units + 1), odds, "--", color="#8a9099", linewidth=1)
    many.set_xticks(sorted({0, *(count for row in findings["rows"] for count, _ in row["cut"])}))
    one.set_ylim(top=130)
    one.set_yticks(range(0, 101, 20))
    one.legend(frameon=False, fontsize=7, loc="upper left", ncols=2)
    for axes, title, x, y in (
        (one, "One unit cut", "which unit", "error (%)"),
        (many, f"{RESIDUAL}: cut blue, swapped green", "how many", "error (%)"),
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
            "Cutting one unit at test time hardly changes a residual net's error, and ruins a plain net and VGG.",
            "sec. 4.1, Fig. 3",
            "a figure: 110 layers hardly change, a VGG of 15 goes to chance",
            f"the median cut costs less than {HARMLESS:g} points, and leaves plain nets with over {RUINED:g} % error",
            "The median cut costs the residual net more, or spares the plain ones.",
        ),
        claim(
            "cut",
            "With more units cut the error rises smoothly.",
            "sec. 4.2, Fig. 5 (a)",
            "a figure",
            f"it rises, by less than {JUMP:g} points from one count to the next",
            "It does not rise, or jumps.",
        ),
        claim(
            "swap",
            "With more units in each other's place the error rises smoothly.",
            "sec. 4.3, Fig. 5 (b)",
            "a figure, by Kendall's tau",
            f"it rises, by less than {JUMP:g} points from one count to the next",
            "It does not rise, or jumps.",
        ),
        claim(
            "paths",
            "The paths that carry the gradient in training are short, though most paths are not.",
            "sec. 4.4, Fig. 6",
            "54 units: almost all gradient from paths of 5 to 17",
            "paths with 95 % of the gradient take less than half of the branches",
            "They take half or more.",
        ),
    )


STUDY = Study(
    name="lesion",
    title="A residual net survives the loss of a unit",
    question="What is lost when a unit is cut out of a trained net?",
    claims=claims(),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(10.5, 3.4),
    reading=(
        "Left: the error with one unit cut, for each unit. Middle: the error by how many units are cut or pairs "
        "swapped. Right: the share of the gradient that paths of each length carry, and of all paths (dashed). Dotted "
        "is a network trained by others."
    ),
    departures=(
        "56 layers where the paper has 110; VGG is a small one of 14 layers with batch norm.",
        "Errors are of some of the test images; units that change the shape cannot be cut out of plain nets.",
        "Swaps are counted in pairs; the paper gives Kendall's tau.",
    ),
    foreign=True,
)
