"""Order of normalisation and activation in residual units.

He 2016, sec. 4, Tables 2 and 3, Figs. 1, 4 and 6.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.study.engine.comparison import (
    COLUMNS,
    LEAST,
    Runs,
    apart_by,
    error_cells,
    errors_by_label,
    format_errors,
    is_lower,
    not_trained,
    plot_errors,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, SMALLER, brief
from skipway.study.engine.verdicts import all_of, decide_verdict, mean, separated
from skipway.study.probes.early_training import (
    LEARNT,
    FirstSteps,
    ShortTrainer,
    final_loss,
    format_losses,
    plot_first_steps,
)
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
STARTED: dict[ScaleName, int] = {"tiny": 56, "small": DEEPEST, "paper": DEEPEST}  # layers; first steps only
STARTS: dict[ScaleName, FirstSteps] = {
    "tiny": FirstSteps(2, 8, 0),
    "small": FirstSteps(200, 32, 16),
    "paper": FirstSteps(400, 128, 0),
}
RATE = 0.1  # from the first step; the paper starts with 400 steps at 0.01
NEAR = 0.1  # points; smaller differences count as equal, since the paper's own range from 0.2 to 2.7
SLOWER = 0.1  # nats; smaller differences count as equal


def recipes(scale: Scale) -> dict[int, dict[str, Recipe]]:
    """The training runs by number of layers and label: at scale paper those of Tables 2 and 3."""
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


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by number of layers, order and seed; losses of the deepest networks' first steps."""
    scale = context.scale
    layers, trainer = STARTED[scale.name], ShortTrainer(context, STARTS[scale.name])
    models = {label: ORDERS[label][0].format(layers) for label in (ORIGINAL, FULL)}
    return {
        "nets": {str(depth): errors_by_label(context, nets) for depth, nets in recipes(scale).items()},
        "starts": {
            "layers": layers,
            "steps": trainer.start.steps,
            "words": trainer.start.summary(),
            "guessing": trainer.chance_loss(),
            "losses": {
                label: [trainer.losses(model, seed, RATE) for seed in context.seeds] for label, model in models.items()
            },
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    shallow = [nets for layers, nets in findings["nets"].items() if int(layers) != DEEPEST]
    deepest = [nets for layers, nets in findings["nets"].items() if int(layers) == DEEPEST]

    def against(claim: str, among: Sequence[dict[str, Runs]], better: str, worse: str) -> Verdict:
        return compare(claims[claim], scale, among, (better, worse), lambda a, b: is_lower(a, b, ("test",), NEAR))

    return [
        against("bn-after", shallow, ORIGINAL, "BN after addition"),
        against("relu-before", shallow, ORIGINAL, "ReLU before addition"),
        compare(claims["relu-only"], scale, shallow, (ORIGINAL, "ReLU-only pre-activation"), alike),
        against("full", shallow, FULL, ORIGINAL),
        decide_start(claims["beginning"], scale, findings["starts"]),
        against("very-deep", deepest, FULL, ORIGINAL),
    ]


def compare(
    claim: Claim,
    scale: Scale,
    among: Sequence[dict[str, Runs]],
    labels: tuple[str, str],
    holds: Callable[[Runs, Runs], bool | None],
) -> Verdict:
    """The verdict on whether `holds` is true for two orders at every depth of `among`."""
    pairs = [{label: nets[label] for label in labels} for nets in among if set(labels) <= set(nets)]
    if not pairs:
        return not_trained(claim, scale)
    supported = all_of(*(holds(*pair.values()) for pair in pairs))
    words = " | ".join(format_errors(pair, ("test",)) for pair in pairs)
    return decide_verdict(claim, scale, supported, words)


def alike(one: Runs, other: Runs) -> bool | None:
    """Whether the means of two networks' test errors differ by at most LEAST; None for a single seed."""
    tests = seed_values(one, "test"), seed_values(other, "test")
    return None if len(one) < 2 else abs(mean(tests[0]) - mean(tests[1])) <= LEAST


def decide_start(claim: Claim, scale: Scale, starts: Mapping[str, Any]) -> Verdict:
    """Whether full pre-activation has the lower loss after the first steps."""
    ends = {
        label: [final_loss(losses, starts["steps"]) for losses in found] for label, found in starts["losses"].items()
    }
    supported = separated(ends[FULL], ends[ORIGINAL], SLOWER)
    learnt = max(ends[FULL]) < starts["guessing"] - LEARNT
    if starts["layers"] != DEEPEST or (supported and not learnt):
        supported = None  # inconclusive for shallower networks, and if neither network has started to learn
    words = ", ".join(f"{label} {format_losses(found)} nats" for label, found in ends.items())
    return decide_verdict(
        claim, scale, supported, f"{starts['layers']} layers, loss after the {starts['words']}: {words}"
    )


def table(findings: Findings) -> Table:
    rows = [
        (label, layers, *error_cells(runs), published(label, int(layers)))
        for layers, nets in findings["nets"].items()
        for label, runs in nets.items()
    ]
    return Table(("order", "layers", *COLUMNS, "paper's test error, %"), rows)


def published(label: str, layers: int) -> str:
    """The paper's error at this depth, or at 110 layers if it has none."""
    errors = ORDERS[label][1]
    return errors.get(layers) or f"{errors[110]} (110 layers)"


def draw(findings: Findings, figure: "Figure") -> None:
    shown = list(findings["nets"].items())
    axes = figure.subplots(math.ceil((len(shown) + 1) / 2), 2, squeeze=False).flatten()
    for panel, (layers, nets) in zip(axes, shown, strict=False):
        plot_errors(
            panel, {f"{label}  [{published(label, int(layers)).split()[0]}]": runs for label, runs in nets.items()}
        )
        panel.set_title(f"{layers} layers", fontsize=9)
    starts = findings["starts"]
    plot_first_steps(axes[-1], starts["losses"], starts["guessing"])
    axes[-1].set_title(f"{starts['layers']} layers: {starts['words']}", fontsize=9)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

STUDY = Study(
    name="order",
    title="Order of the operations in a residual unit",
    question="In which order should a residual unit apply normalisation, ReLU, weights and addition?",
    claims=(
        Claim(
            "bn-after",
            "Batch normalisation after the addition, on the signal path, is worse than the original order.",
            "He 2016, Table 2",
            "Original and BN after addition: 6.61 % and 8.17 % with 110 layers, 5.93 % and 6.50 % with 164",
            apart_by(NEAR),
            "BN after addition has the lower test error in every seed.",
        ),
        Claim(
            "relu-before",
            "ReLU at the end of the branch, which makes the branch non-negative, is worse than the original order.",
            "He 2016, Table 2",
            "Original and ReLU before addition: 6.61 % and 7.84 % with 110 layers, 5.93 % and 6.14 % with 164",
            apart_by(NEAR),
            "ReLU before addition has the lower test error in every seed.",
        ),
        Claim(
            "relu-only",
            "Moving only the ReLU before the weights makes little difference.",
            "He 2016, Table 2",
            "Original and ReLU-only: 6.61 % and 6.71 % with 110 layers, 5.93 % and 5.91 % with 164",
            f"the means differ by at most {LEAST} points",
            f"The means differ by more than {LEAST} points.",
            shown_from="paper",
        ),
        Claim(
            "full",
            "Moving both normalisation and ReLU before the weights is better than the original order.",
            "He 2016, Table 2",
            "Original and full pre-activation: 6.61 % and 6.37 % with 110 layers, 5.93 % and 5.46 % with 164",
            apart_by(NEAR),
            "The original has the lower test error in every seed.",
        ),
        Claim(
            "beginning",
            "With 1001 layers, the loss of the original order falls slowly at first, that of full pre-activation fast.",
            "He 2016, sec. 4.1 and Fig. 1",
            "training curves; no numbers",
            f"after the first steps the original has the higher loss in every seed, on average by at least {SLOWER} "
            f"nats, and the loss of full pre-activation is {LEARNT} nats below chance",
            "After the first steps the original has the lower loss in every seed.",
        ),
        Claim(
            "very-deep",
            "With 1001 layers, pre-activation has a much lower test error.",
            "He 2016, Table 3",
            "Original 7.61 %, full pre-activation 4.92 %",
            apart_by(NEAR),
            "The original has the lower test error in every seed.",
            shown_from="paper",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(10.5, 3.8),
    reading=(
        "Each row is one order, with the paper's test error in brackets: blue circles are training errors, orange "
        "squares test errors, one for each seed. Last panel: the loss of networks of 1001 layers in their first steps; "
        "the earlier it falls, the easier the network is to train."
    ),
    departures=(
        SMALLER,
        "The first steps of the networks of 1001 layers use images without augmentation, below scale paper 32 per step "
        "and of 16 pixels. The learning rate is 0.1 from the first step; the paper starts with 400 steps at 0.01.",
    ),
)
