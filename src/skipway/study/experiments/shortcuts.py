"""Variants of the shortcut.

The options of He 2015, Table 3, and the gates and factors of He 2016, Table 1.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from skipway.study.engine.comparison import (
    APART,
    COLUMNS,
    Runs,
    compare_errors,
    error_cells,
    errors_by_label,
    format_errors,
    is_lower,
    plot_errors,
    seed_values,
)
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName
from skipway.study.engine.short_recipes import DEPTH, SMALLER, brief, once
from skipway.study.engine.verdicts import all_of, decide_verdict, mean
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDENTITY, PLAIN = "identity", "none (plain)"
# label: the network's name without its depth, and the paper's test error with 110 layers; "fail" is above 20 %
VARIANTS = {
    IDENTITY: ("resnet", "6.61"),
    PLAIN: ("plain", "fail"),
    "0.5 x, branch whole": ("scaled_half", "fail"),
    "0.5 x, branch 0.5": ("scaled_both", "12.35"),
    "dropout 0.5": ("dropout_shortcut", "fail"),
    "1x1 convolution": ("conv_shortcut", "12.22"),
    "gate 1 - g, branch g, b = 0": ("exclusive_gate0", "fail"),
    "gate 1 - g, branch g, b = -6": ("exclusive_gate", "8.70"),
    "gate 1 - g alone, b = 0": ("shortcut_gate0", "12.86"),
    "gate 1 - g alone, b = -6": ("shortcut_gate", "6.91"),
}
AT_TINY = (IDENTITY, PLAIN, "gate 1 - g, branch g, b = 0", "gate 1 - g, branch g, b = -6")
OPTIONS = {"A": "25.03", "B": "24.52", "C": "24.19"}  # top-1 errors of 34 layers, ImageNet, ten crops
OPTION_DEPTH: dict[ScaleName, int] = {"tiny": 20, "small": 20, "paper": 32}
NAMES = {
    "A": "A: identity, zeros for new channels",
    "B": "B: projection where the shape changes",
    "C": "C: projection everywhere",
}


def variants(scale: Scale) -> dict[str, Recipe]:
    """The rows of He 2016, Table 1."""
    depth = DEPTH[scale.name]
    whole = {"resnet": f"resnet{depth}", "plain": f"plain{depth}"}
    return {
        label: brief(scale, whole.get(key, f"resnet{depth}_{key}"))
        for label, (key, _) in VARIANTS.items()
        if scale.name != "tiny" or label in AT_TINY
    }


def options(scale: Scale) -> dict[str, Recipe]:
    """The options of He 2015, and the plain network of the same depth."""
    depth = OPTION_DEPTH[scale.name]
    found = {option: replace(brief(scale, f"resnet{depth}"), shortcut=option) for option in OPTIONS}
    return {**found, "A": brief(scale, f"resnet{depth}"), "plain": brief(scale, f"plain{depth}")}  # A is the default


def plan(scale: Scale) -> list[Recipe]:
    return once([*variants(scale).values(), *options(scale).values()])


def analyse(context: ExperimentContext) -> Findings:
    """Errors by shortcut and seed, in per cent."""
    scale = context.scale
    return {
        "layers": DEPTH[scale.name],
        "shortcuts": errors_by_label(context, variants(scale)),
        "option_layers": OPTION_DEPTH[scale.name],
        "options": errors_by_label(context, options(scale)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts, table and figure


def decide_claims(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    nets = findings["shortcuts"]
    closed, half_open = "gate 1 - g alone, b = -6", "gate 1 - g alone, b = 0"
    gates = [label for label in VARIANTS if label.startswith("gate 1 - g, branch g")]
    scaled = ["0.5 x, branch whole", "0.5 x, branch 0.5"]
    return [
        decide_options(claims["options"], scale, findings["options"]),
        compare_errors(claims["scaling"], scale, nets, IDENTITY, scaled, ("test",)),
        compare_errors(claims["gating"], scale, nets, IDENTITY, gates, ("test",)),
        compare_errors(claims["open-gate"], scale, nets, closed, [half_open], ("test",)),
        compare_errors(claims["convolution"], scale, nets, IDENTITY, ["1x1 convolution"], ("test",)),
        compare_errors(claims["dropout"], scale, nets, IDENTITY, ["dropout 0.5"], ("test",)),
        compare_errors(
            claims["optimisation"], scale, nets, IDENTITY, ["1x1 convolution", half_open], ("running", "train")
        ),
    ]


def decide_options(claim: Claim, scale: Scale, nets: Mapping[str, Runs]) -> Verdict:
    """Whether the options differ by less than half the gap between the worst of them and the plain network."""
    tests = {label: mean(seed_values(runs, "test")) for label, runs in nets.items()}
    errors = [tests[option] for option in OPTIONS]
    near = max(errors) - min(errors) < (tests["plain"] - max(errors)) / 2
    better = all_of(*(is_lower(nets[option], nets["plain"], ("test",)) for option in OPTIONS))
    return decide_verdict(claim, scale, near if better else better, format_errors(nets, ("test",)))


def table(findings: Findings) -> Table:
    layers, option_layers = findings["layers"], findings["option_layers"]
    rows = [
        (label, str(layers), *error_cells(runs), f"{VARIANTS[label][1]} (110 layers)")
        for label, runs in findings["shortcuts"].items()
    ]
    for option, runs in findings["options"].items():
        paper = f"{OPTIONS.get(option, '28.54')} (34 layers, ImageNet, ten crops)"
        rows.append((NAMES.get(option, PLAIN), str(option_layers), *error_cells(runs), paper))
    return Table(("shortcut", "layers", *COLUMNS, "paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    plot_errors(left, {f"{label}  [{VARIANTS[label][1]}]": runs for label, runs in findings["shortcuts"].items()})
    left.set_title(f"{findings['layers']} layers; in brackets the paper's test error with 110", fontsize=9)
    plot_errors(right, findings["options"])
    right.set_title(f"Options A, B, C and none, {findings['option_layers']} layers", fontsize=9)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

TABLE_1 = "He 2016, sec. 3 and Table 1"


def worse(name: str, sentence: str, published: str) -> Claim:
    """A claim that a shortcut other than the identity costs accuracy."""
    return Claim(
        name, sentence, TABLE_1, published, APART, "For some pair of networks the order is reversed in every seed."
    )


STUDY = Study(
    name="shortcuts",
    title="Variants of the shortcut",
    question="Is any operation on the shortcut better than the identity?",
    claims=(
        Claim(
            "options",
            "Projections are not essential: options A, B and C differ little compared with the gap to the plain "
            "network.",
            "He 2015, Table 3",
            "ImageNet, 34 layers, top-1 error, ten crops: A 25.03 %, B 24.52 %, C 24.19 %, plain 28.54 %",
            "the means of the options differ by less than half the gap between the worst option and the plain "
            f"network, and for each option and the plain network {APART}",
            "The options differ by at least half the gap to the plain network, or the plain network is better.",
        ),
        worse(
            "scaling",
            "A shortcut scaled by 0.5 impairs a deep network.",
            "110 layers: identity 6.61 %; 0.5 on the shortcut fails (above 20 %); 0.5 on both paths 12.35 %",
        ),
        worse(
            "gating",
            "Gates on both paths, as in highway networks, impair a deep network, whatever their initial biases.",
            "110 layers: identity 6.61 %; biases from 0 fail (above 20 %), from -6 8.70 %",
        ),
        worse(
            "open-gate",
            "A gate on the shortcut only impairs a network less if it is initialised close to the identity.",
            "110 layers: biases from 0 12.86 %, from -6 6.91 %",
        ),
        worse(
            "convolution",
            "A 1x1 convolution on every shortcut of a deep network is worse than the identity.",
            "110 layers: identity 6.61 %, 1x1 convolutions 12.22 %",
        ),
        worse(
            "dropout",
            "Dropout on the shortcut impairs a deep network.",
            "110 layers: identity 6.61 %; dropout of 0.5 fails (above 20 %)",
        ),
        worse(
            "optimisation",
            "The cause is optimisation: gates and convolutions could represent the identity, but have a higher "
            "training error.",
            "Text and Fig. 3: training error higher than that of the identity; no numbers",
        ),
    ),
    plan=plan,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(10.5, 3.9),
    reading=(
        "Each row is a kind of shortcut: blue circles are training errors, orange squares test errors, one for each "
        "seed. Shortcuts that impair training have both markers further right than the first row."
    ),
    departures=(
        SMALLER,
        "Options A, B and C are compared with 20 layers (32 at scale paper) on CIFAR-10; the paper's Table 3 has 34 "
        "layers and ImageNet. The plain network replaces the paper's shortcut times 0, which is the same function.",
        "A convolution on the shortcut is followed by batch normalisation, and a gate scales option A's shortcut; "
        "the paper specifies neither. Biases of -5 and -7 are left out.",
        "Dropout doubles the values it keeps, so the mean is preserved and the variance grows; the paper describes a "
        "scale of 0.5.",
    ),
)
