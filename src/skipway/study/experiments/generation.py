"""The parts of a generator's U-Net: residual units, their shortcuts, zeroed branches and long skip connections.

He 2015 (arXiv:1512.03385), He 2016 (arXiv:1603.05027), Goyal 2017 (arXiv:1706.02677), Ronneberger 2015
(arXiv:1505.04597), Ho 2020 (arXiv:2006.11239) and Dhariwal 2021 (arXiv:2105.05233).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.study.engine.comparison import not_trained
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Effect, Findings, Study, Table, Verdict, no_training
from skipway.study.engine.scale import ScaleName
from skipway.study.engine.verdicts import above, decide, difference, format_mean_std, mean
from skipway.study.experiments.generation_figure import LABELS, draw_panels
from skipway.study.networks.unet_variants import VARIANTS
from skipway.study.probes.velocity_training import GeneratorTraining, parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS: dict[ScaleName, int] = {"tiny": 2, "small": 240, "paper": 1500}  # 1500: the recipe's
AT_TINY = ("unet8_residual1", "unet8_plain4")
LEAST = 1.0  # per cent of the higher loss; smaller differences count as equal
FACTOR = 2.0  # of gradients; smaller factors count as equal
BEFORE_TRAINING = ("vanishing", "first-unit")  # claims
HEALTHY = 0.1  # of the last unit's gradient; a gradient below it has vanished, as in the study of gradients
FAINTEST = 1e-12  # smaller gradients, and none, count as this
# claim: what is compared, and the networks that have less of it and more of it, in the order of the claim
COMPARED: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "shortcuts": ("test", (("unet8_residual1", "unet8_plain1"), ("unet8_ddpm", "unet8_ddpm_plain"))),
    "shortcuts-alone": ("test", (("unet8_not_zeroed1", "unet8_plain1"), ("unet8_not_zeroed4", "unet8_plain4"))),
    "depth": ("test", (("unet8_residual4", "unet8_residual1"),)),
    "degradation": ("train", (("unet8_plain1", "unet8_plain4"),)),
    "zeroed-start": ("first", (("unet8_residual1", "unet8_not_zeroed1"), ("unet8_residual4", "unet8_not_zeroed4"))),
    "zeroed-end": ("test", (("unet8_residual1", "unet8_not_zeroed1"), ("unet8_residual4", "unet8_not_zeroed4"))),
    "long-skips": ("test", (("unet8_residual1", "unet8_no_long_skips"),)),
    "form": ("test", (("unet8_residual1", "unet8_ddpm"),)),
    "first-unit": ("first_gradient", (("unet8_plain4", "unet8_not_zeroed4"),)),
}
VALUES = {
    "test": "held-out loss",
    "train": "loss on training images",
    "first": "loss of the first pass over the images",
    "first_gradient": "log10 of the gradient at the first unit over that at the last",
}


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


def analyse(context: ExperimentContext) -> Findings:
    """The losses and gradients of every network by seed, and the loss with which all start.

    All networks of a seed are trained before the next seed. The images of the first seed alone are kept.
    """
    steps = STEPS[context.scale.name]
    training = GeneratorTraining(context, steps)
    names = AT_TINY if context.scale.name == "tiny" else tuple(VARIANTS)
    networks: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in context.seeds:
        for name in names:
            run = training.measured(name, seed)
            samples = run["samples"] if seed == context.seeds[0] else []
            gradients = [float(f"{value:.4g}") for value in training.gradients(name, seed)]
            networks[name].append({**run, "seed": seed, "samples": samples, "gradients": gradients})
    classes, channels = len(training.dataset.classes), training.preprocessing.channels
    return {
        "training": f"{steps:,} steps of 64 images for each of {len(names)} networks",
        "steps": steps,
        "side": training.preprocessing.canvas,
        "untrained": training.untrained_loss(),
        "parameters": {name: parameters(name, classes, channels) for name in names},
        "networks": networks,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts and table


def values(findings: Findings, network: str, key: str) -> list[float]:
    """A figure of each seed."""
    runs = findings["networks"][network]
    if key == "first_gradient":
        return [math.log10(max(run["gradients"][0], FAINTEST)) for run in runs]
    return [run[key] for run in runs]


def compare(claim: Claim, findings: Findings) -> Verdict:
    """The verdict on a claim of COMPARED, which must be true of each of its pairs."""
    key, pairs = COMPARED[claim.name]
    if not {name for pair in pairs for name in pair} <= set(findings["networks"]):
        return not_trained(claim)
    effects, words = [], []
    for pair in pairs:
        lower, higher = (values(findings, name, key) for name in pair)
        what = f"{VALUES[key]}, {LABELS[pair[1]]} - {LABELS[pair[0]]}"
        effects.append(effect_of(key, lower, higher, what))
        words += [f"{LABELS[name]} {format_mean_std(values(findings, name, key), 4)}" for name in pair]
    steps = 0 if key == "first_gradient" else findings["steps"]
    return decide(claim, steps, effects, f"{VALUES[key]}: {', '.join(dict.fromkeys(words))}")


def effect_of(key: str, lower: Sequence[float], higher: Sequence[float], what: str) -> Effect:
    """By how much `higher` is above `lower`: losses in per cent of the higher mean, gradients in powers of ten."""
    if key == "first_gradient":
        return difference(lower, higher, what, math.log10(FACTOR), "powers of ten")
    whole = max(mean(lower), mean(higher)) / 100
    return difference([v / whole for v in lower], [v / whole for v in higher], what, LEAST, "% of the loss")


def vanishing(claim: Claim, findings: Findings) -> Verdict:
    """The verdict on the claim that no unit's gradient vanishes."""
    if "unet8_plain4" not in findings["networks"]:
        return not_trained(claim)
    least = [min(run["gradients"]) for run in findings["networks"]["unet8_plain4"]]
    what = f"log10 of the smallest gradient over {HEALTHY:g} of the last unit's"
    powers = [math.log10(max(value, FAINTEST)) for value in least]
    effect = above(math.log10(HEALTHY), powers, what, unit="powers of ten")
    return decide(claim, 0, [effect], f"smallest gradient relative to the last unit's: {format_mean_std(least, 3)}")


def decide_claims(claims: Mapping[str, Claim], steps: int, findings: Findings) -> list[Verdict]:
    """A verdict for each claim; `steps` are those of the findings, as the study trains its generators itself."""
    return [
        compare(claim, findings) if name in COMPARED else vanishing(claim, findings) for name, claim in claims.items()
    ]


def table(findings: Findings) -> Table:
    columns = ("network", "parameters", "loss of the first pass", "training images", "held-out loss", "gradient, least")
    rows = []
    for name, runs in findings["networks"].items():
        losses = [format_mean_std([run[key] for run in runs], 4) for key in ("first", "train", "test")]
        diverged = sum(bool(run["diverged"]) for run in runs)
        losses[-1] += f" ({diverged} of {len(runs)} diverged)" if diverged else ""
        least = format_mean_std([min(run["gradients"]) for run in runs])
        rows.append((LABELS[name], f"{findings['parameters'][name]:,}", *losses, least))
    return Table(columns, rows)


def draw(findings: Findings, figure: "Figure") -> None:
    draw_panels(figure, findings, HEALTHY)


# ---------------------------------------------------------------------------------------------------------------------
# Claims


def apart_by(what: str, extra: str = "") -> str:
    """The tolerance of a comparison."""
    return f"{extra}the means differ by at least {what}, and the 95 % interval of their difference does not contain 0"


LOSSES = apart_by(f"{LEAST:g} % of the loss")
BOTH = apart_by(f"{LEAST:g} % of the loss", "in both comparisons ")


def claim(name: str, sentence: str, source: str, published: str, tolerance: str, refuted_by: str) -> Claim:
    """Data speak from scale small's steps on: each claim says what happens after equal, few steps, or before any."""
    steps = 0 if name in BEFORE_TRAINING else STEPS["small"]
    return Claim(name, sentence, source, published, tolerance, refuted_by, fewest_steps=steps, published_steps=0)


CLAIMS = (
    claim(
        "shortcuts",
        "After equal steps a U-Net of residual units has a lower held-out loss than one of units without "
        "shortcuts, in both forms of the unit.",
        "He 2015, sec. 3.2; Ho 2020, app. B",
        "for classification: ImageNet, 34 layers, top-1 error 28.54 % without, 25.03 % with shortcuts; both papers "
        "on generation use shortcuts without a comparison",
        BOTH,
        "In one of the forms the network without shortcuts has the lower loss.",
    ),
    claim(
        "shortcuts-alone",
        "The shortcut itself lowers the held-out loss, not only the zeroed start that it makes possible: it does "
        "so too if no convolution is zeroed.",
        "He 2015, sec. 3.2",
        "as above; its units do not start at zero",
        BOTH,
        "With 1 or 4 units a level the network without shortcuts has the lower loss.",
    ),
    claim(
        "depth",
        "With shortcuts, more units a level lower the held-out loss: 4 are better than 1.",
        "Dhariwal 2021, sec. 3 and Table 1; He 2015, sec. 4",
        "in Table 1 more units a level lower the FID, at the price of longer training",
        LOSSES,
        "With 4 units a level the held-out loss is higher.",
    ),
    claim(
        "degradation",
        "Without shortcuts, more units a level raise the loss on training images: 4 are worse than 1.",
        "He 2015, sec. 1 and Fig. 6",
        "for classification: a plain network of 56 layers has a higher training error than one of 20",
        LOSSES,
        "With 4 units a level the loss on training images is lower.",
    ),
    claim(
        "zeroed-start",
        "If every branch ends in zeros, so that a unit starts as its shortcut, the loss of the first pass over the "
        "images is lower.",
        "Goyal 2017, sec. 5.1",
        "in the text only, for the last scale of each branch: it eases optimisation at the start",
        BOTH,
        "With 1 or 4 units a level the loss of the first pass is higher.",
    ),
    claim(
        "zeroed-end",
        "It is also lower at the end, on held-out images.",
        "Goyal 2017, sec. 5.1; Ho 2020 and Dhariwal 2021, in their code",
        "in the text only: it improves all models",
        BOTH,
        "With 1 or 4 units a level the held-out loss is higher.",
    ),
    claim(
        "long-skips",
        "The long skip connections of the U-Net lower the held-out loss.",
        "Ronneberger 2015, sec. 2; Ho 2020, app. B",
        "in the text only: they bring precise positions to the way up",
        LOSSES,
        "With zeros in their place the held-out loss is lower.",
    ),
    claim(
        "form",
        "Adaptive group normalisation and residual changes of resolution give a lower held-out loss than the unit "
        "of DDPM.",
        "Dhariwal 2021, sec. 3 and Tables 1 and 3",
        "ImageNet at 128 pixels: FID 13.06 with adaptive group normalisation, 15.08 with addition",
        LOSSES,
        "The form of DDPM has the lower held-out loss.",
    ),
    claim(
        "vanishing",
        "With normalisation no unit's gradient vanishes before training, even without shortcuts and with 4 units a "
        "level.",
        "He 2015, sec. 4.1",
        "in the text only, for batch normalisation: healthy norms",
        f"in every seed the gradient of every unit is at least {HEALTHY:g} of the last one's",
        "In every seed some unit's gradient is smaller.",
    ),
    claim(
        "first-unit",
        "More of the gradient reaches the first unit with shortcuts than without, with 4 units a level and no "
        "convolution zeroed.",
        "He 2016, sec. 2, equation 5",
        "in the text only: the shortcut passes it on unchanged",
        apart_by(f"a factor of {FACTOR:g}"),
        "Without shortcuts more of the gradient reaches the first unit.",
    ),
)


STUDY = Study(
    name="generation",
    title="Why a generator's U-Net has residual units",
    question="What do shortcuts, zeroed branches and long skip connections contribute to a generator of images?",
    claims=CLAIMS,
    plan=no_training,
    analyse=analyse,
    decide_claims=decide_claims,
    table=table,
    draw=draw,
    size=(4.8, 13.4),
    reading=(
        "From top to bottom: the loss on new images of each network, orange without shortcuts, and dotted the mean of "
        "unet8 as it is; the same loss by units a level; the training loss, each point the mean of the pass over the "
        "images that ends there; the gradient at each unit before training, relative to that at the last unit, where "
        "it enters; and digits drawn by the networks of the first seed."
    ),
    departures=(
        "The papers train for days on CIFAR-10 or ImageNet. Here digits of 8 x 8 pixels are learned for some hundred "
        "steps of 64 images, so a verdict is about the speed of learning, not about the best that a network reaches.",
        "The papers measure samples by FID; here it is the loss on held-out images, at the same noise and times.",
        "Without shortcuts the last convolutions of the branches are not zeroed: all signals would be 0, and only the "
        "last bias would learn. The attention in the middle keeps its shortcut and its zeros in all networks.",
        "Without long skip connections their maps are replaced by zeros, so that the number of parameters is the same. "
        "Without shortcuts the 1x1 convolutions on them are missing, 2.4 % of the parameters of unet8.",
        "A gradient passes the last convolution of the network only if that is not zeroed, so it has random weights "
        "where gradients are measured.",
    ),
)
