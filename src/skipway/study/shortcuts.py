"""What may stand on a shortcut: the options of He 2015, Table 3, and the gates and factors of He 2016, Table 1."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from skipway.study.bench import Bench
from skipway.study.brief import DEPTH, SMALLER, brief, once
from skipway.study.contest import APART, COLUMNS, Runs, below, cells, contest, described, marks, outcomes, values
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict
from skipway.study.verdicts import all_of, mean, settle
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDENTITY, PLAIN = "identity", "none (plain)"
# label: the network's name without its depth, and the paper's test error of 110 layers; "fail" is above 20 %
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
    """The options of He 2015, and the plain net of their depth."""
    depth = OPTION_DEPTH[scale.name]
    found = {option: replace(brief(scale, f"resnet{depth}"), shortcut=option) for option in OPTIONS}
    return {**found, "A": brief(scale, f"resnet{depth}"), "plain": brief(scale, f"plain{depth}")}  # A is the net's own


def plan(scale: Scale) -> list[Recipe]:
    return once([*variants(scale).values(), *options(scale).values()])


def analyse(bench: Bench) -> Findings:
    """Errors by shortcut and seed, in per cent."""
    scale = bench.scale
    return {
        "layers": DEPTH[scale.name],
        "shortcuts": outcomes(bench, variants(scale)),
        "option_layers": OPTION_DEPTH[scale.name],
        "options": outcomes(bench, options(scale)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# What follows


def judge(claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    nets = findings["shortcuts"]
    closed, half_open = "gate 1 - g alone, b = -6", "gate 1 - g alone, b = 0"
    gates = [label for label in VARIANTS if label.startswith("gate 1 - g, branch g")]
    scaled = ["0.5 x, branch whole", "0.5 x, branch 0.5"]
    return [
        judge_options(claims["options"], scale, findings["options"]),
        contest(claims["scaling"], scale, nets, IDENTITY, scaled, ("test",)),
        contest(claims["gating"], scale, nets, IDENTITY, gates, ("test",)),
        contest(claims["open-gate"], scale, nets, closed, [half_open], ("test",)),
        contest(claims["convolution"], scale, nets, IDENTITY, ["1x1 convolution"], ("test",)),
        contest(claims["dropout"], scale, nets, IDENTITY, ["dropout 0.5"], ("test",)),
        contest(claims["optimisation"], scale, nets, IDENTITY, ["1x1 convolution", half_open], ("running", "train")),
    ]


def judge_options(claim: Claim, scale: Scale, nets: Mapping[str, Runs]) -> Verdict:
    """Whether the options lie closer to each other than half the way from the worst of them to the plain net."""
    tests = {label: mean(values(runs, "test")) for label, runs in nets.items()}
    errors = [tests[option] for option in OPTIONS]
    near = max(errors) - min(errors) < (tests["plain"] - max(errors)) / 2
    better = all_of(*(below(nets[option], nets["plain"], ("test",)) for option in OPTIONS))
    return settle(claim, scale, near if better else better, described(nets, ("test",)))


def table(findings: Findings) -> Table:
    layers, option_layers = findings["layers"], findings["option_layers"]
    rows = [
        (label, str(layers), *cells(runs), f"{VARIANTS[label][1]} (110 layers)")
        for label, runs in findings["shortcuts"].items()
    ]
    for option, runs in findings["options"].items():
        paper = f"{OPTIONS.get(option, '28.54')} (34 layers, ImageNet, ten crops)"
        rows.append((NAMES.get(option, PLAIN), str(option_layers), *cells(runs), paper))
    return Table(("shortcut", "layers", *COLUMNS, "the paper's test error, %"), rows)


def draw(findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    marks(left, {f"{label}  [{VARIANTS[label][1]}]": runs for label, runs in findings["shortcuts"].items()})
    left.set_title(f"{findings['layers']} layers; in brackets the paper's test error of 110", fontsize=9)
    marks(right, findings["options"])
    right.set_title(f"Options A, B, C and none, {findings['option_layers']} layers", fontsize=9)


# ---------------------------------------------------------------------------------------------------------------------
# Claims

TABLE_1 = "He 2016, sec. 3 and Table 1"


def worse(name: str, sentence: str, published: str) -> Claim:
    """A claim that something else than the identity costs accuracy."""
    return Claim(name, sentence, TABLE_1, published, APART, "Of a pair of nets, every seed has it the other way round.")


STUDY = Study(
    name="shortcuts",
    title="What a shortcut may carry",
    question="Is there anything better on a shortcut than nothing at all?",
    claims=(
        Claim(
            "options",
            "Projections are not essential: options A, B and C differ little beside the gap to the plain net.",
            "He 2015, Table 3",
            "ImageNet, 34 layers, top-1 error, ten crops: A 25.03 %, B 24.52 %, C 24.19 %, plain 28.54 %",
            "the options differ by less than half of what separates the worst of them from the plain net, in the "
            f"means, and of each of them and the plain net {APART}",
            "The options differ by half of what separates them from the plain net, or more, or the plain net is "
            "better.",
        ),
        worse(
            "scaling",
            "A shortcut that halves what it carries hampers a deep net.",
            "110 layers: identity 6.61 %; 0.5 on the shortcut fails (above 20 %); 0.5 on both paths 12.35 %",
        ),
        worse(
            "gating",
            "So do gates on both paths, as in highway networks, wherever their biases begin.",
            "110 layers: identity 6.61 %; biases from 0 fail (above 20 %), from -6 8.70 %",
        ),
        worse(
            "open-gate",
            "A gate on the shortcut alone does the less harm the nearer it begins to the identity.",
            "110 layers: biases from 0 12.86 %, from -6 6.91 %",
        ),
        worse(
            "convolution",
            "A 1x1 convolution on every shortcut of a deep net is worse than the identity.",
            "110 layers: identity 6.61 %, 1x1 convolutions 12.22 %",
        ),
        worse(
            "dropout",
            "Dropout on the shortcut hampers a deep net.",
            "110 layers: identity 6.61 %; dropout of 0.5 fails (above 20 %)",
        ),
        worse(
            "optimisation",
            "It is a matter of optimisation: gates and convolutions could be the identity, and train to a higher "
            "error.",
            "Text and Fig. 3: training error higher than that of the identity; no figures",
        ),
    ),
    plan=plan,
    analyse=analyse,
    judge=judge,
    table=table,
    draw=draw,
    size=(10.5, 3.9),
    reading=(
        "Each line is a kind of shortcut: blue circles are training errors, orange squares test errors, one a seed. "
        "What hampers the training moves both marks to the right of the first line's."
    ),
    departures=(
        SMALLER,
        "Options A, B and C are compared on 20 layers (32 at scale paper) and CIFAR-10; the paper's Table 3 on 34 "
        "layers and ImageNet. The plain net stands for the paper's shortcut times 0, which is the same function.",
        "A convolution on the shortcut is followed by batch normalisation, and a gate scales option A's shortcut; "
        "the paper says neither. Biases from -5 and -7 are left out.",
        "Dropout doubles what it lets through, so that the mean stays and the variance grows; the paper speaks of a "
        "scale of a half.",
    ),
)
