"""Test-time augmentation and ensembles.

The steps to an error of 3.57 %: He 2015, sec. 4.1, Tables 3 to 5.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.runs import evenly
from skipway.study.engine.scale import Scale, training
from skipway.study.engine.verdicts import all_of, decide_verdict, format_mean_std
from skipway.study.probes.test_views import ALL, ONE, SIZES, TEN, VIEWS, Member, members, scores
from skipway.tasks.classify.pooling import mean_softmax
from skipway.tasks.classify.significance import paired
from skipway.tasks.comparison import LEVEL, holm
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS = ("resnet56", "resnet20")
TEST_IMAGES = {"tiny": 24, "small": 5_000, "paper": 0}  # evenly spaced; 0: all
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# ResNet-152, top-1 / top-5 error in per cent: the authors' released model, and He 2015, Tables 3 and 4
PUBLISHED = {ONE: "23.0 / 6.7", TEN: "21.43 / 5.71", ALL: "19.38 / 4.49"}


def plan(scale: Scale) -> list[Recipe]:
    """The residual networks of `degradation`."""
    return [training(scale, model) for model in NETS]


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
    found = {f"{len(names)} seeds of {kind}": names for kind, names in by_kind.items()}
    if min(map(len, by_kind.values()), default=0) > 1:  # with a single seed, both depths are all networks
        found["both depths, one seed"] = [names[0] for names in by_kind.values()]
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


def improved(found: Sequence[Mapping[str, float]]) -> bool | None:
    """True if the error fell in every comparison, in at least one significantly (Holm); False if it rose so."""
    if not found or min(holm([one["p"] for one in found])) >= LEVEL:
        return None
    if all(one["change"] < 0 for one in found):
        return True
    return False if all(one["change"] > 0 for one in found) else None


def each_improved(found: Sequence[Mapping[str, float]]) -> bool | None:
    """True if the error fell significantly in every comparison (Holm); False if it rose significantly in one."""
    adjusted = holm([one["p"] for one in found])
    pairs = zip(found, adjusted, strict=True)
    return all_of(*(improved([{**one, "p": p}]) for one, p in pairs)) if found else None


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    singles, together = findings["singles"], findings["together"]
    ours = [team for team in together if team["name"] == "all nets"]

    def view(name: str, found: str) -> Verdict:
        named = [(one["name"], one["changes"][found]) for one in singles]
        return decide_verdict(claims[name], scale, improved([change for _, change in named]), format_changes(named))

    best = [(label_of(team), team["best"][ONE]) for team in together]
    both = [(f"all networks and views against {what}", change) for team in ours for what, change in steps(team).items()]
    return [
        view("ten-crop", TEN),
        view("multi-scale", SIZES),
        decide_verdict(claims["ensemble"], scale, improved([change for _, change in best]), format_changes(best)),
        decide_verdict(claims["together"], scale, each_improved([change for _, change in both]), format_changes(both)),
    ]


def steps(team: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The two comparisons: with all networks and one view, and with the best network and all views."""
    return {"all networks, one view": team["views"], "the best network, all views": team["best"][ALL]}


def format_changes(named: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Changes of the error in points and McNemar's p, as text."""
    if not named:
        return "fewer than two networks"
    return "; ".join(f"{name}: {change['change']:+.2f} points (p {change['p']:.2g})" for name, change in named)


def table(findings: Findings) -> Table:
    """A row for each kind of network and each ensemble, a column for each view."""
    kinds = dict.fromkeys(one["kind"] for one in findings["singles"])
    rows = [(kind, *(cell(findings, kind, view) for view in VIEWS)) for kind in kinds]
    rows += [(label_of(team), *(f"{team['errors'][view]:.2f}" for view in VIEWS)) for team in findings["together"]]
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
    """The errors from one view to all views, one line for each network and ensemble."""
    axes = figure.subplots()
    kinds = list(dict.fromkeys(one["kind"] for one in findings["singles"]))
    for one in findings["singles"]:
        line(axes, one["errors"], one["kind"], COLOURS[kinds.index(one["kind"]) % len(COLOURS)], "o-")
    marks = {"all nets": ("#1c1f23", "s-"), "others' nets": ("#8a9099", "s-")}
    for team in findings["together"]:
        if team["name"] in marks:
            line(axes, team["errors"], f"ensemble of {label_of(team)}", *marks[team["name"]])
    quieten(axes)
    axes.set_xticks(range(len(VIEWS)), VIEWS)
    axes.set_xlim(-0.2, len(VIEWS) - 0.8)
    axes.set_ylabel("test error (%)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def line(axes: "Axes", by_view: Mapping[str, float], label: str, colour: str, style: str) -> None:
    known = axes.get_legend_handles_labels()[1]
    shown = label if label not in known else None
    axes.plot(range(len(VIEWS)), [by_view[view] for view in VIEWS], style, color=colour, markersize=5, label=shown)


SEEN = "the error falls in every comparison, in at least one significantly (McNemar, Holm, 5 %)"
CLAIMS = (
    Claim(
        "ten-crop",
        "Averaging over ten crops has a lower error than a single view.",
        "Krizhevsky 2012, sec. 4.1; He 2015, Table 3, and the authors' released models",
        "ResNet-152 on ImageNet: top-1 / top-5 error 23.0 / 6.7 % with one crop, 21.43 / 5.71 % with ten",
        SEEN,
        "The error of ten crops is higher for every network, for at least one significantly.",
    ),
    Claim(
        "multi-scale",
        "Averaging over several image sizes has a lower error than a single view.",
        "He 2015, Table 4, and the authors' released models",
        "ResNet-152 on ImageNet: 23.0 / 6.7 % with one crop, 19.38 / 4.49 % with full images at five sizes",
        SEEN,
        "The error of several sizes is higher for every network, for at least one significantly.",
    ),
    Claim(
        "ensemble",
        "An ensemble has a lower error than its best member.",
        "He 2015, Tables 4 and 5",
        "ImageNet, top-5: 4.49 % for the best single model (validation), 3.57 % for six (test)",
        SEEN,
        "The error of every ensemble is above that of its best member, for at least one significantly.",
    ),
    Claim(
        "together",
        "Views and networks add up: all networks with all views beat all networks with one view, and the best network "
        "with all views.",
        "He 2015, Tables 3 to 5",
        "ImageNet, top-5, ResNet-152: 6.7 % with one crop, 5.71 % with ten, 4.49 % with several sizes; six networks: "
        "3.57 %",
        "the error falls significantly in both comparisons (McNemar, Holm, 5 %)",
        "The error with all networks and all views is significantly higher in one of the comparisons.",
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
    size=(8.0, 3.8),
    reading=(
        "Each line is one network, from a single view to the average of many views; squares are ensembles. A step "
        "down to the right is the gain from views, the distance from the lines down to the squares the gain from "
        "more networks."
    ),
    departures=(
        "Images of 32 pixels leave no margin for crops: the ten crops are taken from the image with a reflected margin "
        "of 4 pixels, like the crops of training.",
        "The three sizes are 7/8, 1 and 9/8 of the training size. The paper's go up to 2.9 times, for networks trained "
        "on objects of many sizes; these were not.",
        "The error is top-1, since top-5 means little with ten classes; the paper's 3.57 % is top-5 of a thousand.",
        "The paper averages six networks of several depths; here there are two depths and all trained seeds.",
    ),
    accepts_weights=True,
)
