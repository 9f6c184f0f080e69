"""Variants of the shortcut.

The options of He 2015, Table 3, and the gates and factors of He 2016, Table 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from skipway.study.engine.comparison import (
    COLUMNS,
    LEAST,
    Runs,
    error_cells,
    error_effects,
    errors_by_label,
    format_errors,
    not_trained,
    plot_errors,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Effect, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, brief, full_length, once
from skipway.study.engine.verdicts import decide, difference, state_of
from skipway.study.experiments.shortcuts_claims import CHANGED, CLAIMS, CLOSE, DEPARTURES
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDENTITY, PLAIN, DROPOUT, CONVOLUTION = "identity", "none (plain)", "dropout 0.5, mean halved", "1x1 convolution"
SCALED = ("0.5 x, branch whole", "0.5 x, branch 0.5")
GATES = ("gate 1 - g, branch g, b = 0", "gate 1 - g, branch g, b = -6")
HALF_OPEN, CLOSED = "gate 1 - g alone, b = 0", "gate 1 - g alone, b = -6"
# label: the network's name without its depth, and the paper's test error with 110 layers; "fail" is above 20 %
VARIANTS = {
    IDENTITY: ("resnet", "6.61"),
    PLAIN: ("plain", "fail"),
    SCALED[0]: ("scaled_half", "fail"),
    SCALED[1]: ("scaled_both", "12.35"),
    DROPOUT: ("halved_dropout", "fail"),
    CONVOLUTION: ("conv_shortcut", "12.22"),
    GATES[0]: ("exclusive_gate0", "fail"),
    GATES[1]: ("exclusive_gate", "8.70"),
    HALF_OPEN: ("shortcut_gate0", "12.86"),
    CLOSED: ("shortcut_gate", "6.91"),
}
BRIEF = (IDENTITY, PLAIN, *SCALED, CONVOLUTION)  # at scale small for a quarter of its length: their effects are large
AT_TINY = (IDENTITY, PLAIN, *GATES)
OPTIONS = {"A": "25.03", "B": "24.52", "C": "24.19"}  # top-1 errors of 34 layers, ImageNet, ten crops
OPTION_DEPTH: dict[ScaleName, int] = {"tiny": 20, "small": 20, "paper": 32}
NAMES = {
    "A": "A: identity, zeros for new channels",
    "B": "B: projection where the shape changes",
    "C": "C: projection everywhere",
}


def variants(scale: Scale) -> dict[str, dict[str, Recipe]]:
    """The rows of He 2016, Table 1, by length of training."""
    depth = DEPTH[scale.name]
    whole = {"resnet": f"resnet{depth}", "plain": f"plain{depth}"}
    nets = {label: whole.get(key, f"resnet{depth}_{key}") for label, (key, _) in VARIANTS.items()}
    if scale.name != "small":
        labels = AT_TINY if scale.name == "tiny" else VARIANTS
        return {"full": {label: full_length(scale, nets[label]) for label in labels}}
    longer = (IDENTITY, *(label for label in VARIANTS if label not in BRIEF))
    return {
        "full": {label: full_length(scale, nets[label]) for label in longer},
        "brief": {label: brief(scale, nets[label]) for label in BRIEF},
    }


def options(scale: Scale) -> dict[str, Recipe]:
    """The options of He 2015, and the plain network of the same depth."""
    depth = OPTION_DEPTH[scale.name]
    found = {option: replace(brief(scale, f"resnet{depth}"), shortcut=option) for option in OPTIONS}
    return {**found, "A": brief(scale, f"resnet{depth}"), "plain": brief(scale, f"plain{depth}")}  # A is the default


def plan(scale: Scale) -> list[Recipe]:
    return once([recipe for nets in (*variants(scale).values(), options(scale)) for recipe in nets.values()])


def analyse(context: ExperimentContext) -> Findings:
    """Errors by shortcut and seed, in per cent, and the steps of training."""
    scale = context.scale
    lengths = {**variants(scale), "options": options(scale)}
    return {
        "layers": DEPTH[scale.name],
        "shortcuts": {length: errors_by_label(context, nets) for length, nets in variants(scale).items()},
        "option_layers": OPTION_DEPTH[scale.name],
        "options": errors_by_label(context, options(scale)),
        "steps": {length: next(iter(nets.values())).iterations for length, nets in lengths.items()},
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def groups(findings: Findings, steps: int = 0) -> list[tuple[Mapping[str, Runs], int]]:
    """The networks of each length of training with its steps, the longest first.

    steps: of a result from before there were two lengths.
    """
    found = findings["shortcuts"]
    if "steps" not in findings:
        return [(found, steps)]
    return [(found[length], findings["steps"][length]) for length in ("full", "brief") if length in found]


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    nets = groups(findings, steps)
    option_steps = findings.get("steps", {}).get("options", steps)
    test, training = ("test",), ("running", "train")
    return [
        decide_options(claims["options"], option_steps, findings["options"]),
        compare(claims["scaling"], nets, IDENTITY, SCALED, test),
        compare(claims["open-gate"], nets, CLOSED, [HALF_OPEN], test),
        compare(claims["closed-gate"], nets, IDENTITY, [CLOSED], test, CLOSE),
        compare(claims["convolution"], nets, IDENTITY, [CONVOLUTION], test),
        compare(claims["dropout"], nets, IDENTITY, [DROPOUT], test),
        compare(claims["optimisation"], nets, IDENTITY, [CONVOLUTION, HALF_OPEN], training),
    ]


def compare(
    claim: Claim,
    among: Sequence[tuple[Mapping[str, Runs], int]],
    better: str,
    worse: Sequence[str],
    keys: Sequence[str],
    least: float = LEAST,
) -> Verdict:
    """The verdict on a claim that `better` has lower errors in `keys` than each of `worse`, for each of which both were
    trained for the same length. Its steps are those of the shortest comparison."""
    effects: list[Effect] = []
    words, lengths = [], []
    for nets, steps in among:
        labels = [label for label in worse if {better, label} <= set(nets)]
        effects += [
            effect
            for label in labels
            for effect in error_effects(nets[better], nets[label], keys, (better, label), least)
        ]
        if labels:
            words.append(format_errors({label: nets[label] for label in (better, *labels)}, keys))
            lengths.append(steps)
    if len(effects) < len(worse) * len(keys):
        return not_trained(claim)
    return decide(claim, min(lengths), effects, " | ".join(words))


def decide_options(claim: Claim, steps: int, nets: Mapping[str, Runs]) -> Verdict:
    """Whether the options differ by less than half the smallest gap between one of them and the plain network."""
    tests = {label: seed_values(runs, "test") for label, runs in nets.items()}
    effects = [
        effect
        for option in OPTIONS
        for effect in error_effects(nets[option], nets["plain"], ("test",), (option, "plain"), LEAST)
    ]
    half_gap = min(effect.estimate - effect.half_width for effect in effects) / 2  # by the lower end of its interval
    if all(state_of(effect) == "supports" for effect in effects):  # otherwise there is no gap to compare with
        for one, other in combinations(OPTIONS, 2):
            apart = difference(tests[one], tests[other], f"test error, {other} - {one}", half_gap, "points")
            effects.append(replace(apart, equivalence=True))
    measured = f"{format_errors(nets, ('test',))}; half the gap, at least: {half_gap:.2f} points"
    return decide(claim, steps, effects, measured)


def table(findings: Findings) -> Table:
    layers, option_layers = findings["layers"], findings["option_layers"]
    rows = [
        (label, str(layers), steps_cell(steps), *error_cells(runs), f"{published(label)} (110 layers)")
        for nets, steps in groups(findings)
        for label, runs in nets.items()
    ]
    option_steps = steps_cell(findings.get("steps", {}).get("options", 0))
    for option, runs in findings["options"].items():
        paper = f"{OPTIONS.get(option, '28.54')} (34 layers, ImageNet, ten crops)"
        rows.append((NAMES.get(option, PLAIN), str(option_layers), option_steps, *error_cells(runs), paper))
    return Table(("shortcut", "layers", "steps", *COLUMNS, "paper's test error, %"), rows)


def steps_cell(steps: int) -> str:
    return f"{steps:,}" if steps else "–"


def published(label: str) -> str:
    """The paper's test error; of a dropout that preserves the mean, which earlier results have, it gives none."""
    return VARIANTS[label][1] if label in VARIANTS else "–"


def draw(findings: Findings, figure: "Figure") -> None:
    panels = groups(findings)
    heights = [len(nets) + 1.5 for nets, _ in panels]
    axes = figure.subplots(len(panels) + 1, 1, height_ratios=(*heights, len(findings["options"]) + 1.5))
    for panel, (nets, steps) in zip(axes, panels, strict=False):
        plot_errors(panel, {f"{label}  [{published(label)}]": runs for label, runs in nets.items()})
        length = f", {steps:,} steps" if steps else ""
        panel.set_title(f"{findings['layers']} layers{length}", fontsize=9, loc="left")
    plot_errors(axes[-1], {NAMES.get(option, PLAIN): runs for option, runs in findings["options"].items()})
    axes[-1].set_title(f"Options A, B, C and none, {findings['option_layers']} layers", fontsize=9, loc="left")
    for panel in axes[1:]:
        panel.get_legend().remove()
    for panel in axes[:-1]:
        panel.set_xlabel("")


STUDY = Study(
    name="shortcuts",
    title="Variants of the shortcut",
    question="Is any operation on the shortcut better than the identity?",
    claims=CLAIMS,
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(5.6, 6.6),
    reading=(
        "Each row is a kind of shortcut: blue circles are training errors, orange squares test errors, one for each "
        "seed; in brackets is the paper's test error with 110 layers. Shortcuts that impair training have both markers "
        "further right than the first row of their panel. g is a learnt gate and b its initial bias."
    ),
    departures=DEPARTURES,
    changed=CHANGED,
)
