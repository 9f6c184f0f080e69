"""Order of normalisation and activation in residual units.

He 2016, sec. 4, Tables 2 and 3, Figs. 1, 4 and 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from skipway.study.engine.comparison import (
    COLUMNS,
    Runs,
    error_cells,
    error_effects,
    errors_by_label,
    format_errors,
    not_trained,
    plot_errors,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, brief, full_length
from skipway.study.engine.verdicts import FEWEST_SEEDS, decide, difference, mean
from skipway.study.experiments.activation_order_claims import ALIKE, CHANGED, CLAIMS, DEEPEST, DEPARTURES, NEAR, SLOWER
from skipway.study.probes.early_training import (
    DEEP_STARTS,
    LEARNT,
    ShortTrainer,
    end_losses,
    format_losses,
    plot_first_steps,
)
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORIGINAL, RELU_ONLY, FULL = "original", "ReLU-only pre-activation", "full pre-activation"
BN_AFTER, RELU_BEFORE = "BN after addition", "ReLU before addition"
# label: the network's name, and the paper's test errors by layers
ORDERS: dict[str, tuple[str, dict[int, str]]] = {
    ORIGINAL: ("resnet{}", {110: "6.61", 164: "5.93", 1001: "7.61"}),
    BN_AFTER: ("resnet{}_bn_after", {110: "8.17", 164: "6.50"}),
    RELU_BEFORE: ("resnet{}_relu_before", {110: "7.84", 164: "6.14"}),
    RELU_ONLY: ("resnet{}_relu_only", {110: "6.71", 164: "5.91"}),
    FULL: ("preresnet{}", {110: "6.37", 164: "5.46", 1001: "4.92"}),
}
BRIEF = (ORIGINAL, BN_AFTER, RELU_BEFORE)  # at scale small for a quarter of its length: their effects are large
STARTED: dict[ScaleName, int] = {"tiny": 56, "small": DEEPEST, "paper": DEEPEST}  # layers; first steps only
RATE = 0.1


@dataclass(frozen=True)
class Group:
    """Networks of one depth, trained for the same number of steps, by label."""

    layers: int
    steps: int
    nets: Mapping[str, Runs]


def recipes(scale: Scale) -> list[tuple[int, dict[str, Recipe]]]:
    """The training runs by label with their number of layers, for each depth and length: at scale paper those of Tables
    2 and 3."""

    def named(layers: int, labels: Sequence[str]) -> dict[str, str]:
        return {label: ORDERS[label][0].format(layers) for label in labels}

    depth = DEPTH[scale.name]
    if scale.name == "paper":
        wanted = [(DEEPEST, (ORIGINAL, FULL)), (164, tuple(ORDERS)), (depth, tuple(ORDERS))]
    else:
        wanted = [(depth, (ORIGINAL, FULL) if scale.name == "tiny" else (ORIGINAL, RELU_ONLY, FULL))]
    found = [
        (layers, {label: full_length(scale, model) for label, model in named(layers, labels).items()})
        for layers, labels in wanted
    ]
    if scale.name == "small":
        found.append((depth, {label: brief(scale, model) for label, model in named(depth, BRIEF).items()}))
    return found


def plan(scale: Scale) -> list[Recipe]:
    return [recipe for _, nets in recipes(scale) for recipe in nets.values()]


def analyse(context: ExperimentContext) -> Findings:
    """Errors in per cent by depth and length, order and seed; losses of the deepest networks' first steps, of at most
    three seeds."""
    scale = context.scale
    layers, trainer = STARTED[scale.name], ShortTrainer(context, DEEP_STARTS[scale.name])
    models = {label: ORDERS[label][0].format(layers) for label in (ORIGINAL, FULL)}
    return {
        "nets": [
            {
                "layers": depth,
                "steps": next(iter(nets.values())).iterations,
                "nets": errors_by_label(context, nets),
            }
            for depth, nets in recipes(scale)
        ],
        "starts": {
            "layers": layers,
            "steps": trainer.start.steps,
            "warmup": trainer.start.warmup,
            "words": trainer.start.summary(),
            "guessing": trainer.chance_loss(),
            "losses": {
                label: [trainer.losses(model, seed, RATE) for seed in context.seeds[:FEWEST_SEEDS]]
                for label, model in models.items()
            },
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def groups(findings: Findings, steps: int = 0) -> list[Group]:
    """The trained networks. steps: of a result from before lengths were stored."""
    found = findings["nets"]
    if isinstance(found, dict):
        return [Group(int(layers), steps, nets) for layers, nets in found.items()]
    return [Group(**group) for group in found]


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    found = groups(findings, steps)
    shallow = [group for group in found if group.layers != DEEPEST]
    deepest = [group for group in found if group.layers == DEEPEST]
    return [
        compare(claims["bn-after"], shallow, ORIGINAL, BN_AFTER),
        compare(claims["relu-before"], shallow, ORIGINAL, RELU_BEFORE),
        compare(claims["relu-only"], shallow, ORIGINAL, RELU_ONLY, equal=True),
        compare(claims["full"], shallow, FULL, ORIGINAL),
        decide_start(claims["beginning"], findings["starts"]),
        compare(claims["very-deep"], deepest, FULL, ORIGINAL),
    ]


def compare(claim: Claim, among: Sequence[Group], better: str, worse: str, equal: bool = False) -> Verdict:
    """The verdict on a claim that `better` has the lower test error at every depth of `among` where both were trained.
    equal: the claim is that their errors are equal, within ALIKE."""
    pairs = [group for group in among if {better, worse} <= set(group.nets)]
    if not pairs:
        return not_trained(claim)
    effects = []
    for group in pairs:
        names = (better, f"{group.layers} layers, {worse}")
        found = error_effects(group.nets[better], group.nets[worse], ("test",), names, ALIKE if equal else NEAR)
        effects += [replace(effect, equivalence=equal) for effect in found]
    words = " | ".join(
        format_errors({label: group.nets[label] for label in (better, worse)}, ("test",)) for group in pairs
    )
    return decide(claim, min(group.steps for group in pairs), effects, words)


def decide_start(claim: Claim, starts: Mapping[str, Any]) -> Verdict:
    """Whether full pre-activation has the lower loss after the first steps."""
    steps, chance = starts["steps"], starts["guessing"]
    ends = {label: end_losses(found, steps, chance) for label, found in starts["losses"].items()}
    shortfall = ""
    if min(map(mean, ends.values())) > chance - LEARNT:
        shortfall = f"neither network has a loss {LEARNT} nats below chance"
    if starts["layers"] != DEEPEST:
        shortfall = f"measured with {starts['layers']} layers"
    effect = difference(ends[FULL], ends[ORIGINAL], f"loss, {ORIGINAL} - {FULL}", SLOWER, "nats")
    words = ", ".join(f"{label} {format_losses(found)} nats" for label, found in ends.items())
    measured = f"{starts['layers']} layers, loss after the {starts['words']}: {words}"
    return decide(claim, steps, [effect], measured, shortfall)


def table(findings: Findings) -> Table:
    rows = [
        (
            label,
            str(group.layers),
            f"{group.steps:,}" if group.steps else "–",
            *error_cells(runs),
            published(label, group.layers),
        )
        for group in groups(findings)
        for label, runs in group.nets.items()
    ]
    return Table(("order", "layers", "steps", *COLUMNS, "paper's test error, %"), rows)


def published(label: str, layers: int) -> str:
    """The paper's error at this depth, or at 110 layers if it has none."""
    errors = ORDERS[label][1]
    return errors.get(layers) or f"{errors[110]} (110 layers)"


def draw(findings: Findings, figure: "Figure") -> None:
    shown = groups(findings)
    axes = figure.subplots(len(shown) + 1, 1, height_ratios=(*(len(group.nets) + 1 for group in shown), 6))
    for panel, group in zip(axes, shown, strict=False):
        labels = {label: f"{label} [{published(label, group.layers).split()[0]}]" for label in group.nets}
        plot_errors(panel, {labels[label]: runs for label, runs in group.nets.items()})
        length = f", {group.steps:,} steps" if group.steps else ""
        panel.set_title(f"{group.layers} layers{length}", fontsize=9, loc="left")
        if panel is not axes[0]:
            panel.get_legend().remove()
    starts = findings["starts"]
    plot_first_steps(axes[-1], starts["losses"], starts["guessing"], starts.get("warmup", 0))
    axes[-1].set_title(f"{starts['layers']} layers: {starts['words']}", fontsize=9, loc="left")


STUDY = Study(
    name="order",
    title="Order of the operations in a residual unit",
    question="In which order should a residual unit apply normalisation, ReLU, weights and addition?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.6, 6.6),
    reading=(
        "Each row is one order, with the paper's test error with 110 layers in brackets: blue circles are training "
        "errors, orange squares test errors, one for each seed. Last panel: the loss of networks of 1001 layers in "
        "their first steps, a line for each seed; the earlier it falls, the easier the network is to train."
    ),
    departures=DEPARTURES,
    changed=CHANGED,
)
