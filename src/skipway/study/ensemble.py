"""What more views and more networks add (He 2015, sec. 4.1, Tables 3 to 5): the road to an error of 3.57 %."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skipway.evaluation.mcnemar import LEVEL, holm, paired
from skipway.evaluation.plots import quieten
from skipway.evaluation.protocols import mean_softmax
from skipway.study.bench import Bench
from skipway.study.contract import Claim, Findings, Scale, Study, Table, Verdict, training
from skipway.study.runs import evenly
from skipway.study.verdicts import all_of, settle, spread
from skipway.study.views import ALL, ONE, SIZES, TEN, VIEWS, Member, members, scores
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETS = ("resnet56", "resnet20")
JUDGED = {"tiny": 24, "small": 5_000, "paper": 0}  # test images, evenly chosen; 0: all
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# ResNet-152, top-1 / top-5 error in per cent: the authors' released model, and He 2015, Tables 3 and 4
PUBLISHED = {ONE: "23.0 / 6.7", TEN: "21.43 / 5.71", ALL: "19.38 / 4.49"}


def plan(scale: Scale) -> list[Recipe]:
    """The residual trainings of `degradation`."""
    return [training(scale, model) for model in NETS]


Right = dict[str, np.ndarray]  # by view, whether each image was answered right, (n,) of bool


def analyse(bench: Bench) -> Findings:
    """Errors in per cent by view, of every network and of ensembles, each beside what it should improve on."""
    assert bench.source.test is not None
    split = evenly(bench.source.test, JUDGED[bench.scale.name])
    own, others = members(bench, [t for recipe in plan(bench.scale) for t in bench.of(recipe)])
    known = {member.name: scores(bench, member, split) for member in own + others}

    def right(parts: Sequence[str]) -> Right:
        stacked = {view: torch.stack([known[part][view] for part in parts]) for view in VIEWS}
        return {view: mean_softmax(s).argmax(1).numpy() == split.labels for view, s in stacked.items()}

    alone = {member.name: right([member.name]) for member in own + others}
    singles = [
        {"name": m.name, "kind": m.kind, "errors": errors(alone[m.name]), "changes": by_view(alone[m.name])}
        for m in own + others
    ]
    together = [
        {"name": name, "of": parts, **beside(right(parts), [alone[part] for part in parts])}
        for name, parts in teams(own, others).items()
    ]
    return {"images": len(split), "singles": singles, "together": together}


def teams(own: Sequence[Member], others: Sequence[Member]) -> dict[str, list[str]]:
    """Whose probabilities are averaged: the seeds of a depth, both depths of a seed, all of ours, all of others'."""
    by_kind = {kind: [m.name for m in own if m.kind == kind] for kind in dict.fromkeys(m.kind for m in own)}
    found = {f"{len(names)} seeds of {kind}": names for kind, names in by_kind.items()}
    if min(map(len, by_kind.values()), default=0) > 1:  # of a single seed, both depths are all nets
        found["both depths, one seed"] = [names[0] for names in by_kind.values()]
    found["all nets"] = [member.name for member in own]
    found["others' nets"] = [member.name for member in others]
    return {name: parts for name, parts in found.items() if len(parts) > 1}


def errors(right: Right) -> dict[str, float]:
    return {view: round(100 * (1 - float(found.mean())), 3) for view, found in right.items()}


def compared(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """By how many points the second's error is above the first's, and McNemar's p, from their answers (n,)."""
    pair = paired(first, second)
    return {"change": round(100 * (pair.only_first - pair.only_second) / pair.n, 3), "p": pair.p}


def by_view(right: Right) -> dict[str, dict[str, float]]:
    """What each view changes."""
    return {view: compared(right[ONE], right[view]) for view in VIEWS if view != ONE}


def beside(right: Right, parts: Sequence[Right]) -> dict[str, Any]:
    """An ensemble's errors, and what it changes: `best`, to its best member, by view; `views`, to its own one view.

    The member is chosen on these same images, which flatters it.
    """
    best = {view: compared(max((part[view] for part in parts), key=np.sum), right[view]) for view in VIEWS}
    return {"errors": errors(right), "best": best, "views": compared(right[ONE], right[ALL])}


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def improved(found: Sequence[Mapping[str, float]]) -> bool | None:
    """Whether the error fell in every comparison, and in one of them by more than chance (Holm); False: rose."""
    if not found or min(holm([one["p"] for one in found])) >= LEVEL:
        return None
    if all(one["change"] < 0 for one in found):
        return True
    return False if all(one["change"] > 0 for one in found) else None


def each_improved(found: Sequence[Mapping[str, float]]) -> bool | None:
    """Whether the error fell in every comparison, in each by more than chance (Holm); False: rose so in one."""
    adjusted = holm([one["p"] for one in found])
    pairs = zip(found, adjusted, strict=True)
    return all_of(*(improved([{**one, "p": p}]) for one, p in pairs)) if found else None


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    singles, together = findings["singles"], findings["together"]
    ours = [team for team in together if team["name"] == "all nets"]

    def view(name: str, found: str) -> Verdict:
        named = [(one["name"], one["changes"][found]) for one in singles]
        return settle(claims[name], scale, improved([change for _, change in named]), told(named))

    best = [(team["name"], team["best"][ONE]) for team in together]
    both = [(f"all nets, to {what}", change) for team in ours for what, change in steps(team).items()]
    return [
        view("ten-crop", TEN),
        view("multi-scale", SIZES),
        settle(claims["ensemble"], scale, improved([change for _, change in best]), told(best)),
        settle(claims["together"], scale, each_improved([change for _, change in both]), told(both)),
    ]


def steps(team: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The two last steps of the road: from one view to all, and from the best net with all views to all nets."""
    return {"their one view": team["views"], "the best net with all views": team["best"][ALL]}


def told(named: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Points of error and McNemar's p, one after the other."""
    if not named:
        return "fewer than two networks"
    return "; ".join(f"{name}: {change['change']:+.2f} points (p {change['p']:.2g})" for name, change in named)


def table(findings: Findings) -> Table:
    """A row a kind of net and a row an ensemble, a column a view."""
    kinds = dict.fromkeys(one["kind"] for one in findings["singles"])
    rows = [(kind, *(cell(findings, kind, view) for view in VIEWS)) for kind in kinds]
    rows += [(team["name"], *(f"{team['errors'][view]:.2f}" for view in VIEWS)) for team in findings["together"]]
    rows += [
        (name, *(known.get(view, "–") for view in VIEWS))
        for name, known in (("ResNet-152 on ImageNet, top-1 / top-5", PUBLISHED), ("six nets, top-5", {ALL: "3.57"}))
    ]
    return Table(("error, %", *VIEWS), rows)


def cell(findings: Findings, kind: str, view: str) -> str:
    """The errors of a kind of net; of others' nets nobody knows the seeds."""
    found = [one for one in findings["singles"] if one["kind"] == kind]
    values = [one["errors"][view] for one in found]
    return f"{values[0]:.2f}" if found[0]["name"] == kind else spread(values)


def draw(findings: Findings, figure: "Figure") -> None:
    """The road from one view to all, a line a net and a line an ensemble."""
    axes = figure.subplots()
    kinds = list(dict.fromkeys(one["kind"] for one in findings["singles"]))
    for one in findings["singles"]:
        line(axes, one["errors"], one["kind"], COLOURS[kinds.index(one["kind"]) % len(COLOURS)], "o-")
    marks = {"all nets": ("#1c1f23", "s-"), "others' nets": ("#8a9099", "s-")}
    for team in findings["together"]:
        if team["name"] in marks:
            line(axes, team["errors"], f"{team['name']} together", *marks[team["name"]])
    quieten(axes)
    axes.set_xticks(range(len(VIEWS)), VIEWS)
    axes.set_xlim(-0.2, len(VIEWS) - 0.8)
    axes.set_ylabel("test error (%)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def line(axes: "Axes", by_view: Mapping[str, float], label: str, colour: str, style: str) -> None:
    known = axes.get_legend_handles_labels()[1]
    shown = label if label not in known else None
    axes.plot(range(len(VIEWS)), [by_view[view] for view in VIEWS], style, color=colour, markersize=5, label=shown)


SEEN = "the error falls in every comparison, in at least one by more than chance (McNemar, Holm, 5 %)"
CLAIMS = (
    Claim(
        "ten-crop",
        "The mean of ten crops has a lower error than the image alone.",
        "Krizhevsky 2012, sec. 4.1; He 2015, Table 3, beside the authors' released models",
        "ResNet-152 on ImageNet: top-1 / top-5 error 23.0 / 6.7 % of one crop, 21.43 / 5.71 % of ten",
        SEEN,
        "The error of ten crops is the higher one for every net, for at least one by more than chance.",
    ),
    Claim(
        "multi-scale",
        "The mean of several sizes of the image has a lower error than one.",
        "He 2015, Table 4, beside the authors' released models",
        "ResNet-152 on ImageNet: 23.0 / 6.7 % of one crop, 19.38 / 4.49 % of whole images at five sizes",
        SEEN,
        "The error of several sizes is the higher one for every net, for at least one by more than chance.",
    ),
    Claim(
        "ensemble",
        "Several networks together have a lower error than the best of them.",
        "He 2015, Tables 4 and 5",
        "ImageNet, top-5: 4.49 % of the best single model (validation), 3.57 % of six (test)",
        SEEN,
        "The error of every ensemble is above that of its best member, of at least one by more than chance.",
    ),
    Claim(
        "together",
        "Views and networks add up: all nets with all views beat all nets with one, and the best net with all views.",
        "He 2015, Tables 3 to 5",
        "ImageNet, top-5, ResNet-152: 6.7 % of one crop, 5.71 % of ten, 4.49 % of several sizes; six nets: 3.57 %",
        "the error falls in both comparisons, in each by more than chance (McNemar, Holm, 5 %)",
        "The error with all nets and all views is the higher one in one of the comparisons, by more than chance.",
    ),
)

STUDY = Study(
    name="ensemble",
    title="What more views and more networks add",
    question="What do ten crops, several sizes and several networks take off the error?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(8.0, 3.8),
    reading=(
        "Each line is one trained net, from what it answers to an image seen once to the mean of many views; the "
        "squares are several nets together. A step down to the right is what views add, the distance from the lines "
        "of single nets down to the squares is what more nets add."
    ),
    departures=(
        "Images of 32 pixels leave no margin: ten crops are taken from the image with a mirrored margin of 4 pixels, "
        "as the crops of training are.",
        "The three sizes are 7/8, 1 and 9/8 of the size trained at. The paper's go up to 2.9 times, for nets trained "
        "on objects of many sizes; these were not.",
        "Top-1 error, since of ten classes five are no answer; the paper's 3.57 % are top-5 of a thousand.",
        "The paper averages six nets of several depths; here there are two depths and as many seeds as were trained.",
    ),
    foreign=True,
)
