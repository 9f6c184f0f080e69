"""Test-time augmentation and ensembles.

The steps to an error of 3.57 %: He 2015, sec. 4.1, Tables 3 to 5.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Effect, Findings, Study, Table, Verdict
from skipway.study.engine.runs import evenly
from skipway.study.engine.scale import Scale
from skipway.study.engine.verdicts import below, decide, format_mean_std
from skipway.study.experiments.degradation import CIFAR, trainings
from skipway.study.probes.test_views import ALL, MIRRORED, ONE, SIZES, TEN, VIEWS, Member, members, scores
from skipway.tasks.classify.pooling import mean_softmax
from skipway.tasks.classify.significance import paired
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS = ("resnet56", "resnet20")
TEST_IMAGES = {"tiny": 24, "small": 0, "paper": 0}  # evenly spaced; 0: all
LEAST = 0.1  # percentage points; smaller changes count as none
BOTH = "both depths"  # the start of the names of ensembles of one network of each depth
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# ResNet-152, top-1 / top-5 error in per cent: the authors' released model, and He 2015, Tables 3 and 4
PUBLISHED = {ONE: "23.0 / 6.7", TEN: "21.43 / 5.71", ALL: "19.38 / 4.49"}


def plan(scale: Scale) -> list[Recipe]:
    """The residual networks of `degradation`."""
    recipes = trainings(CIFAR, scale)
    return [recipes[model] for model in NETS]


Correct = dict[str, np.ndarray]  # by view, whether each image was classified correctly, (n,) bool


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by view, of every network and every ensemble, each compared with its baseline."""
    assert context.dataset.test is not None
    split = evenly(context.dataset.test, TEST_IMAGES[context.scale.name])
    own, others = members(context, [t for recipe in plan(context.scale) for t in context.trainings(recipe)])
    known = {member.name: scores(context, member, split) for member in own + others}

    def correct(parts: Sequence[str]) -> Correct:
        stacked = {view: torch.stack([known[part][view] for part in parts]) for view in VIEWS}
        return {view: mean_softmax(s).argmax(1).numpy() == split.labels for view, s in stacked.items()}

    alone = {member.name: correct([member.name]) for member in own + others}
    singles = [
        {"name": m.name, "kind": m.kind, "errors": errors(alone[m.name]), "changes": by_view(alone[m.name])}
        for m in own + others
    ]
    together = [
        {"name": name, "of": parts, **compare_with_members(correct(parts), [alone[part] for part in parts])}
        for name, parts in teams(own, others).items()
    ]
    return {"images": len(split), "singles": singles, "together": together}


def teams(own: Sequence[Member], others: Sequence[Member]) -> dict[str, list[str]]:
    """The ensembles by name: the seeds of a depth, both depths of a seed, all trained and all pretrained networks."""
    by_kind = {kind: [m.name for m in own if m.kind == kind] for kind in dict.fromkeys(m.kind for m in own)}
    by_seed: dict[str, list[str]] = {}
    for member in own:
        by_seed.setdefault(member.name.removeprefix(member.kind), []).append(member.name)
    found = {f"{len(names)} seeds of {kind}": names for kind, names in by_kind.items()}
    found |= {f"{BOTH}{seed}": names for seed, names in by_seed.items()}
    if len(by_seed) > 1:  # with a single seed, both depths are all networks
        found["all nets"] = [member.name for member in own]
    found["others' nets"] = [member.name for member in others]
    return {name: parts for name, parts in found.items() if len(parts) > 1}


def errors(correct: Correct) -> dict[str, float]:
    return {view: round(100 * (1 - float(found.mean())), 3) for view, found in correct.items()}


def compared(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """By how many points the second's error is above the first's, and McNemar's p, from which images (n,) each
    classified correctly."""
    pair = paired(first, second)
    return {"change": round(100 * (pair.only_first - pair.only_second) / pair.n, 3), "p": pair.p}


def by_view(correct: Correct) -> dict[str, dict[str, float]]:
    """The change by each view, compared with one view."""
    return {view: compared(correct[ONE], correct[view]) for view in VIEWS if view != ONE}


def compare_with_members(correct: Correct, parts: Sequence[Correct]) -> dict[str, Any]:
    """An ensemble's errors, and their change: `best`, from its best member, by view; `views`, from one view to all.

    The best member is chosen on the same images, which favours it.
    """
    best = {view: compared(max((part[view] for part in parts), key=np.sum), correct[view]) for view in VIEWS}
    return {"errors": errors(correct), "best": best, "views": compared(correct[ONE], correct[ALL])}


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def falls(changes: Sequence[Mapping[str, float]], what: str) -> list[Effect]:
    """By how many points the error falls, over the seeds; empty without any."""
    return [below(0.0, [change["change"] for change in changes], what, LEAST, "points")] if changes else []


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    """Pretrained networks are shown and do not decide: there is one of a kind."""
    singles, together = findings["singles"], findings["together"]
    kinds = dict.fromkeys(one["kind"] for one in singles if one["kind"] != one["name"])
    seeded = [team for team in together if team["name"].startswith(BOTH)]

    def view(name: str, found: str) -> Verdict:
        by_kind = {kind: [one["changes"][found] for one in singles if one["kind"] == kind] for kind in kinds}
        effects = [e for kind, of in by_kind.items() for e in falls(of, f"test error, one view - {found}, {kind}")]
        return decide(claims[name], steps, effects, format_changes([(o["name"], o["changes"][found]) for o in singles]))

    best = falls([team["best"][ONE] for team in seeded], "test error, better depth - both depths")
    both = [
        *falls([team["views"] for team in seeded], "test error, both depths, one view - all views"),
        *falls([team["best"][ALL] for team in seeded], "test error, all views, better depth - both depths"),
    ]
    named = [(f"{team['name']}, against {what}", change) for team in seeded for what, change in steps_of(team).items()]
    return [
        view("mirror", MIRRORED),
        view("ten-crop", TEN),
        view("multi-scale", SIZES),
        decide(claims["ensemble"], steps, best, format_changes([(label_of(t), t["best"][ONE]) for t in together])),
        decide(claims["together"], steps, both, format_changes(named)),
    ]


def steps_of(team: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The two comparisons of an ensemble with all views: with one view, and with its best member and all views."""
    return {"one view": team["views"], "its better network": team["best"][ALL]}


def format_changes(named: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Changes of the error in points and McNemar's p, as text."""
    if not named:
        return "fewer than two networks"
    return "; ".join(f"{name}: {change['change']:+.2f} points (p {change['p']:.2g})" for name, change in named)


def table(findings: Findings) -> Table:
    """A row for each kind of network and of ensemble, a column for each view."""
    kinds = dict.fromkeys(one["kind"] for one in findings["singles"])
    rows = [(kind, *(cell(findings, kind, view) for view in VIEWS)) for kind in kinds]
    seeded = [team["errors"] for team in findings["together"] if team["name"].startswith(BOTH)]
    if seeded:
        rows.append((f"{BOTH} of a seed", *(format_mean_std([found[view] for found in seeded]) for view in VIEWS)))
    rows += [
        (label_of(team), *(f"{team['errors'][view]:.2f}" for view in VIEWS))
        for team in findings["together"]
        if not team["name"].startswith(BOTH)
    ]
    rows += [
        (name, *(known.get(view, "–") for view in VIEWS))
        for name, known in (
            ("ResNet-152 on ImageNet, top-1 / top-5", PUBLISHED),
            ("six networks, top-5", {ALL: "3.57"}),
        )
    ]
    return Table(("error, %", *VIEWS), rows)


def label_of(team: Mapping[str, Any]) -> str:
    """An ensemble's name as shown."""
    return str(team["name"]).replace("others' nets", "pretrained networks").replace("all nets", "all networks")


def cell(findings: Findings, kind: str, view: str) -> str:
    """The errors of a kind of network; the number of seeds is left out for pretrained ones."""
    found = [one for one in findings["singles"] if one["kind"] == kind]
    values = [one["errors"][view] for one in found]
    return f"{values[0]:.2f}" if found[0]["name"] == kind else format_mean_std(values)


def draw(findings: Findings, figure: "Figure") -> None:
    """The errors by view, one line for each network and ensemble; the views are no scale, so the lines only lead the
    eye."""
    axes = figure.subplots()
    kinds = list(dict.fromkeys(one["kind"] for one in findings["singles"]))
    for one in findings["singles"]:
        line(axes, one["errors"], one["kind"], COLOURS[kinds.index(one["kind"]) % len(COLOURS)], "o-")
    marks = {"all nets": ("#1c1f23", "s-"), "others' nets": ("#8a9099", "s-")}
    for team in findings["together"]:
        if team["name"] in marks:
            line(axes, team["errors"], f"ensemble of {label_of(team)}", *marks[team["name"]])
    quieten(axes)
    axes.set_xticks(range(len(VIEWS)), [view.replace(" ", "\n", 1) for view in VIEWS])
    axes.set_xlim(-0.2, len(VIEWS) - 0.8)
    axes.set_ylabel("test error (%)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)


def line(axes: "Axes", by_view: Mapping[str, float], label: str, colour: str, style: str) -> None:
    known = axes.get_legend_handles_labels()[1]
    shown = label if label not in known else None
    axes.plot(range(len(VIEWS)), [by_view[view] for view in VIEWS], style, color=colour, markersize=5, label=shown)


FALLS = f"the error falls by at least {LEAST} points on average, and the 95 % interval over seeds does not contain 0"
EACH = f"with each depth {FALLS}"
CLAIMS = (
    Claim(
        "mirror",
        "Averaging over the image and its mirror image has a lower error than the image alone.",
        "Simonyan 2014, sec. 3.2",
        "used in all results, without a comparison",
        EACH,
        "The error is higher with the mirror image.",
        published_steps=0,
    ),
    Claim(
        "ten-crop",
        "Averaging over ten crops has a lower error than a single view.",
        "Krizhevsky 2012, sec. 4.1; He 2015, Table 3, and the authors' released models",
        "ResNet-152 on ImageNet: top-1 / top-5 error 23.0 / 6.7 % with one crop, 21.43 / 5.71 % with ten",
        EACH,
        "The error of ten crops is higher.",
        published_steps=600_000,
    ),
    Claim(
        "multi-scale",
        "Averaging over several image sizes has a lower error than a single view.",
        "He 2015, Table 4, and the authors' released models",
        "ResNet-152 on ImageNet: 23.0 / 6.7 % with one crop, 19.38 / 4.49 % with full images at five sizes",
        EACH,
        "The error of several sizes is higher.",
        published_steps=600_000,
    ),
    Claim(
        "ensemble",
        "An ensemble of two depths has a lower error than the better of them.",
        "He 2015, Tables 4 and 5",
        "ImageNet, top-5: 4.49 % for the best single model (validation), 3.57 % for six (test)",
        FALLS,
        "The error of the ensemble is above that of its better network.",
        published_steps=600_000,
    ),
    Claim(
        "together",
        "Views and networks add up: both depths with all views beat both depths with one view, and the better depth "
        "with all views.",
        "He 2015, Tables 3 to 5",
        "ImageNet, top-5, ResNet-152: 6.7 % with one crop, 5.71 % with ten, 4.49 % with several sizes; six networks: "
        "3.57 %",
        f"in both comparisons {FALLS}",
        "The error with both depths and all views is higher in one of the comparisons.",
        published_steps=600_000,
    ),
)

STUDY = Study(
    name="ensemble",
    title="Test-time augmentation and ensembles",
    question="By how much do ten crops, several sizes and several networks reduce the error?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(4.8, 5.6),
    reading=(
        "Each line is one network, a colour for each kind: on the left a single view, then the averages over several. "
        "Squares are ensembles. What is below the left end of its own line gains from views; the distance down to the "
        "squares is the gain from more networks."
    ),
    departures=(
        "The images leave no margin for crops: the ten crops are taken from the image with a reflected margin of an "
        "eighth of its side, like the crops of training.",
        "The three sizes are 7/8, 1 and 9/8 of the training size. The paper's go up to 2.9 times, for networks trained "
        "on objects of many sizes; these were not.",
        "The error is top-1, since top-5 means little with ten classes; the paper's 3.57 % is top-5 of a thousand.",
        "The paper averages six networks of several depths; the claims here are about two, one of each depth.",
    ),
    changed=(
        "The first version decided by McNemar's test on the images, for all networks together, and a claim held if "
        "the error fell in every comparison and significantly in one. The effects are now over the seeds, and only "
        f"changes of {LEAST} points count; McNemar's p is still given. Pretrained networks, one of each kind, are "
        "shown and do not decide.",
        "The claims on ensembles were about all networks, of which there is one ensemble; they are now about both "
        "depths of a seed. The claim on mirror images was added: every first result had a lower error with them.",
        "The networks are those of `degradation`: 16,000 iterations at 16 x 16 pixels, instead of 4,000 at 32 x 32, "
        "and all test images are used at scale small, instead of 5,000.",
    ),
    accepts_weights=True,
)
