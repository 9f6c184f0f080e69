"""Where normalisation and rectifier stand in a residual unit (He 2016, sec. 4, Tables 2 and 3, Figs. 1, 4 and 6)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.study.bench import Bench
from skipway.study.brief import DEPTH, SMALLER, brief
from skipway.study.contest import (
    COLUMNS,
    LEAST,
    Runs,
    apart_by,
    below,
    cells,
    described,
    marks,
    outcomes,
    untrained,
    values,
)
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict
from skipway.study.starts import LEARNT, Beginner, Start, final, race, told
from skipway.study.verdicts import all_of, apart, mean, settle
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORIGINAL, FULL = "original", "full pre-activation"
# label: the network's name, and the paper's test errors by layers
ORDERS: dict[str, tuple[str, dict[int, str]]] = {
    ORIGINAL: ("resnet{}", {110: "6.61", 164: "5.93", 1001: "7.61"}),
    "BN after addition": ("resnet{}_bn_after", {110: "8.17", 164: "6.50"}),
    "ReLU before addition": ("resnet{}_relu_before", {110: "7.84", 164: "6.14"}),
    "ReLU-only pre-activation": ("resnet{}_relu_only", {110: "6.71", 164: "5.91"}),
    FULL: ("preresnet{}", {110: "6.37", 164: "5.46", 1001: "4.92"}),
}
DEEPEST = 1001
STARTED: dict[ScaleName, int] = {"tiny": 56, "small": DEEPEST, "paper": DEEPEST}  # layers of the nets that begin
STARTS: dict[ScaleName, Start] = {"tiny": Start(2, 8, 0), "small": Start(200, 32, 16), "paper": Start(400, 128, 0)}
RATE = 0.1  # from the first step, to which the paper comes after 400 of 0.01
NEAR = 0.1  # points; a smaller difference counts as none, since the paper's own are from 0.2 to 2.7
SLOWER = 0.1  # nats; a smaller difference counts as none


def recipes(scale: Scale) -> dict[int, dict[str, Recipe]]:
    """The trainings by layers and label: at scale paper those of Tables 2 and 3."""
    depths = (DEEPEST, 164, 110) if scale.name == "paper" else (DEPTH[scale.name],)
    return {
        layers: {
            label: brief(scale, name.format(layers))
            for label, (name, _) in ORDERS.items()
            if label in (ORIGINAL, FULL) or (layers != DEEPEST and scale.name != "tiny")
        }
        for layers in depths
    }


def plan(scale: Scale) -> list[Recipe]:
    return [recipe for nets in recipes(scale).values() for recipe in nets.values()]


def analyse(bench: Bench) -> Findings:
    """Errors by layers, order and seed in per cent; losses of the first steps of the deepest nets."""
    scale = bench.scale
    layers, beginner = STARTED[scale.name], Beginner(bench, STARTS[scale.name])
    models = {label: ORDERS[label][0].format(layers) for label in (ORIGINAL, FULL)}
    return {
        "nets": {str(depth): outcomes(bench, nets) for depth, nets in recipes(scale).items()},
        "starts": {
            "layers": layers,
            "steps": beginner.start.steps,
            "words": beginner.start.words(),
            "guessing": beginner.guessing(),
            "losses": {
                label: [beginner.losses(model, seed, RATE) for seed in bench.seeds] for label, model in models.items()
            },
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    shallow = [nets for layers, nets in findings["nets"].items() if int(layers) != DEEPEST]
    deepest = [nets for layers, nets in findings["nets"].items() if int(layers) == DEEPEST]

    def against(claim: str, among: Sequence[dict[str, Runs]], better: str, worse: str) -> Verdict:
        return compare(claims[claim], scale, among, (better, worse), lambda a, b: below(a, b, ("test",), NEAR))

    return [
        against("bn-after", shallow, ORIGINAL, "BN after addition"),
        against("relu-before", shallow, ORIGINAL, "ReLU before addition"),
        compare(claims["relu-only"], scale, shallow, (ORIGINAL, "ReLU-only pre-activation"), alike),
        against("full", shallow, FULL, ORIGINAL),
        judge_start(claims["beginning"], scale, findings["starts"]),
        against("very-deep", deepest, FULL, ORIGINAL),
    ]


def compare(
    claim: Claim,
    scale: Scale,
    among: Sequence[dict[str, Runs]],
    labels: tuple[str, str],
    holds: Callable[[Runs, Runs], bool | None],
) -> Verdict:
    """The verdict on whether something holds of two orders at every depth of `among`."""
    pairs = [{label: nets[label] for label in labels} for nets in among if set(labels) <= set(nets)]
    if not pairs:
        return untrained(claim, scale)
    seen = all_of(*(holds(*pair.values()) for pair in pairs))
    words = " | ".join(described(pair, ("test",)) for pair in pairs)
    return settle(claim, scale, seen, words)


def alike(one: Runs, other: Runs) -> bool | None:
    """Whether the means of two nets' test errors differ by at most LEAST; None of a single seed."""
    tests = values(one, "test"), values(other, "test")
    return None if len(one) < 2 else abs(mean(tests[0]) - mean(tests[1])) <= LEAST


def judge_start(claim: Claim, scale: Scale, starts: Mapping[str, Any]) -> Verdict:
    """Whether the loss of the full pre-activation is the lower one after the first steps."""
    ends = {label: [final(losses, starts["steps"]) for losses in found] for label, found in starts["losses"].items()}
    seen = apart(ends[FULL], ends[ORIGINAL], SLOWER)
    learnt = max(ends[FULL]) < starts["guessing"] - LEARNT
    if starts["layers"] != DEEPEST or (seen and not learnt):
        seen = None  # shallower nets say nothing of a thousand layers, nor do nets of which none has begun to learn
    words = ", ".join(f"{label} {told(found)} nats" for label, found in ends.items())
    return settle(claim, scale, seen, f"{starts['layers']} layers, loss after the {starts['words']}: {words}")


def table(findings: Findings) -> Table:
    rows = [
        (label, layers, *cells(runs), published(label, int(layers)))
        for layers, nets in findings["nets"].items()
        for label, runs in nets.items()
    ]
    return Table(("order", "layers", *COLUMNS, "the paper's test error, %"), rows)


def published(label: str, layers: int) -> str:
    """The paper's error of the same depth, or of 110 layers where it has none."""
    errors = ORDERS[label][1]
    return errors.get(layers) or f"{errors[110]} (110 layers)"


def draw(findings: Findings, figure: "Figure") -> None:
    shown = list(findings["nets"].items())
    axes = figure.subplots(math.ceil((len(shown) + 1) / 2), 2, squeeze=False).flatten()
    for panel, (layers, nets) in zip(axes, shown, strict=False):
        marks(panel, {f"{label}  [{published(label, int(layers)).split()[0]}]": runs for label, runs in nets.items()})
        panel.set_title(f"{layers} layers", fontsize=9)
    starts = findings["starts"]
    race(axes[-1], starts["losses"], starts["guessing"])
    axes[-1].set_title(f"{starts['layers']} layers: {starts['words']}", fontsize=9)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

STUDY = Study(
    name="order",
    title="Where the activations go",
    question="In which order should a residual unit normalise, rectify, weigh and add?",
    claims=(
        Claim(
            "bn-after",
            "Normalising the sum, so that it stands on the path of the signal, is worse.",
            "He 2016, Table 2",
            "Original against BN after addition: 6.61 % and 8.17 % with 110 layers, 5.93 % and 6.50 % with 164",
            apart_by(NEAR),
            "In every seed BN after addition has the lower test error.",
        ),
        Claim(
            "relu-before",
            "Rectifying the branch before the addition, so that it can only add, is worse.",
            "He 2016, Table 2",
            "Original against ReLU before addition: 6.61 % and 7.84 % with 110 layers, 5.93 % and 6.14 % with 164",
            apart_by(NEAR),
            "In every seed ReLU before addition has the lower test error.",
        ),
        Claim(
            "relu-only",
            "Moving the rectifier alone before the weights changes little.",
            "He 2016, Table 2",
            "Original against ReLU-only: 6.61 % and 6.71 % with 110 layers, 5.93 % and 5.91 % with 164",
            f"the means differ by at most {LEAST} points",
            f"The means differ by more than {LEAST} points.",
            shown_from="paper",
        ),
        Claim(
            "full",
            "Moving both normalisation and rectifier before the weights is better than the original order.",
            "He 2016, Table 2",
            "Original against full pre-activation: 6.61 % and 6.37 % with 110 layers, 5.93 % and 5.46 % with 164",
            apart_by(NEAR),
            "In every seed the original has the lower test error.",
        ),
        Claim(
            "beginning",
            "With 1001 layers the original's loss falls slowly at the beginning, that of the full pre-activation fast.",
            "He 2016, sec. 4.1 and Fig. 1",
            "A figure of training curves; no figures in print",
            f"after the first steps every seed of the original has the higher loss, in the mean by {SLOWER} nats, "
            f"and the other's is {LEARNT} nats below that of guessing",
            "After the first steps every seed of the original has the lower loss.",
        ),
        Claim(
            "very-deep",
            "With 1001 layers pre-activation has the far lower test error.",
            "He 2016, Table 3",
            "Original 7.61 %, full pre-activation 4.92 %",
            apart_by(NEAR),
            "In every seed the original has the lower test error.",
            shown_from="paper",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(10.5, 3.8),
    reading=(
        "A line is an order, in brackets the paper's test error: blue circles are training errors, orange squares test "
        "errors, one a seed. Last, the loss of nets of a thousand layers step by step: the sooner it falls, the easier "
        "the net trains."
    ),
    departures=(
        SMALLER,
        "The first steps of the nets of 1001 layers see unaugmented images, below scale paper 32 a step and of 16 "
        "pixels. Their rate is 0.1 from the first, where the paper begins at 0.01 for 400 steps.",
    ),
)
