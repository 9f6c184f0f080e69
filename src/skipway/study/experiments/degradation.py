"""Training of plain and residual networks of two depths: the degradation problem.

He 2015, secs. 1, 4.1 and 4.2; Figs. 1, 4 and 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from skipway.reporting.svg import quieten
from skipway.study.engine.comparison import APART, COLUMNS, compare_errors, error_cells, errors_by_label, seed_values
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.experiment import Claim, Findings, Study, Table, Verdict
from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.study.engine.verdicts import decide_verdict, format_mean_std, mean
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEAR = 0.5  # points; errors this close to a published one count as equal to it
SHALLOW, DEEP = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Depths:
    """The networks compared: layers of the shallow and the deep one, suffix of their names, image size in pixels (0:
    that of the data) and share of a full training run by scale, and the paper's test errors in per cent by network."""

    shallow: int
    deep: int
    ending: str
    sizes: Mapping[ScaleName, int]
    shares: Mapping[ScaleName, float]
    published: Mapping[str, float]

    @property
    def nets(self) -> tuple[str, ...]:
        """The network names, the most expensive first."""
        return tuple(f"{kind}{depth}" for depth in (self.deep, self.shallow) for kind in ("plain", "resnet"))


CIFAR = Depths(20, 56, "", {}, {}, {"resnet20": 8.75, "resnet56": 6.97})
AT_64_PIXELS = Depths(18, 34, "_imagenet", {"tiny": 32, "small": 64, "paper": 64}, {"small": 1 / 4}, {})


def plan(depths: Depths, scale: Scale) -> list[Recipe]:
    """One training run of each network."""
    return list(trainings(depths, scale).values())


def trainings(depths: Depths, scale: Scale) -> dict[str, Recipe]:
    """The training recipes by network."""
    size, share = depths.sizes.get(scale.name, 0), depths.shares.get(scale.name, 1.0)
    return {net: replace(training(scale, f"{net}{depths.ending}", share), size=size) for net in depths.nets}


def analyse(depths: Depths, context: ExperimentContext) -> Findings:
    """By network and seed: running training error by step, and final errors, in per cent."""
    return dict(errors_by_label(context, trainings(depths, context.scale)))


def decide_claims(depths: Depths, claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    plain, residual = ([f"{kind}{depth}" for depth in (depths.shallow, depths.deep)] for kind in ("plain", "resnet"))

    def compare(claim: str, lower: str, higher: str, keys: Sequence[str]) -> Verdict:
        return compare_errors(claims[claim], scale, findings, lower, [higher], keys)

    found = [
        compare("plain-training", plain[0], plain[1], ("running", "train")),
        compare("plain-test", plain[0], plain[1], ("test",)),
        compare("residual-training", residual[1], residual[0], ("running", "train")),
        compare("residual-test", residual[1], residual[0], ("test",)),
    ]
    return [*found, *near_published(depths, claims, scale, findings)]


def near_published(depths: Depths, claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    """The verdict on the paper's own figures, if it gives any."""
    if not depths.published:
        return []
    measured = {model: seed_values(findings[model], "test") for model in depths.published}
    near = all(abs(mean(measured[model]) - error) <= NEAR for model, error in depths.published.items())
    several = min(map(len, measured.values())) > 1  # the spread of a single seed is unknown
    words = ", ".join(f"{model} {format_mean_std(measured[model], unit=' %')}" for model in depths.published)
    return [decide_verdict(claims["published"], scale, near if several else None, words)]


def table(depths: Depths, findings: Findings) -> Table:
    rows = [
        (
            model,
            *error_cells(findings[model]),
            f"{depths.published[model]:.2f}" if model in depths.published else "–",
        )
        for model in sorted(findings, key=lambda name: (name.rstrip("0123456789"), len(name), name))
    ]
    return Table(("network", *COLUMNS, "paper's test error, %"), rows)


def draw(depths: Depths, findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    panel(left, findings, (f"plain{depths.shallow}", f"plain{depths.deep}"), "Plain")
    panel(right, findings, (f"resnet{depths.shallow}", f"resnet{depths.deep}"), "Residual")
    left.set_ylabel("error (%)")
    left.set_ylim(bottom=0)


def panel(axes: "Axes", findings: Findings, models: tuple[str, str], title: str) -> None:
    """Plot two networks: running training error as lines, final test errors as markers after the last step."""
    for model, colour in zip(models, (SHALLOW, DEEP), strict=True):
        for i, run in enumerate(findings[model]):
            if run["curve"]:
                steps, errors = zip(*run["curve"], strict=True)
                axes.plot(
                    steps, errors, color=colour, linewidth=1.3, label=f"{model}, training error" if i == 0 else None
                )
        last = max((run["curve"][-1][0] for run in findings[model] if run["curve"]), default=1)
        ends = seed_values(findings[model], "test")
        axes.plot([1.03 * last] * len(ends), ends, "s", color=colour, markersize=5, label=f"{model}, final test error")
    quieten(axes)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("step")
    axes.legend(frameon=False, fontsize=8)


def claims_of(depths: Depths) -> tuple[Claim, ...]:
    shallow, deep = depths.shallow, depths.deep
    where = "He 2015, secs. 1 and 4.2, Figs. 1 and 6" if depths is CIFAR else "He 2015, sec. 4.1, Fig. 4, Table 2"
    plain = "Fig. 6: plain-56 above plain-20 throughout; plain-110 above 60 %"
    residual = "Fig. 6 and Table 6: test error 8.75 % with 20 layers, 6.97 % with 56"
    if depths is not CIFAR:
        plain = "ImageNet, top-1 error, ten crops: plain-18 27.94 %, plain-34 28.54 %; same order in training"
        residual = "ImageNet, top-1 error, ten crops: 27.88 % with 18 layers, 25.03 % with 34"
    found = (
        Claim(
            "plain-training",
            f"A plain network of {deep} layers has a higher training error than one of {shallow}: the cause is not "
            "overfitting.",
            where,
            plain,
            APART,
            "The deeper plain network has the lower training error in every seed.",
        ),
        Claim(
            "plain-test",
            "Its test error is also higher.",
            where,
            plain,
            APART,
            "The deeper plain network has the lower test error in every seed.",
        ),
        Claim(
            "residual-training",
            f"With shortcuts the order is reversed: {deep} layers have the lower training error.",
            where,
            residual,
            APART,
            "The deeper residual network has the higher training error in every seed.",
        ),
        Claim(
            "residual-test",
            f"With shortcuts {deep} layers also have the lower test error.",
            where,
            residual,
            APART,
            "The deeper residual network has the higher test error in every seed.",
        ),
    )
    if not depths.published:
        return found
    figures = Claim(
        "published",
        "Trained for 64,000 iterations, the residual networks reach the test errors of Table 6.",
        "He 2015, Table 6",
        "8.75 % with 20 layers, 6.97 % with 56",
        f"each mean is within {NEAR} points of the paper's",
        f"A mean differs from the paper's by more than {NEAR} points.",
        shown_from="paper",
    )
    return (*found, figures)


def study(name: str, title: str, question: str, depths: Depths, departures: tuple[str, ...]) -> Study:
    return Study(
        name=name,
        title=title,
        question=question,
        claims=claims_of(depths),
        plan=partial(plan, depths),
        analyse=partial(analyse, depths),
        decide_claims=partial(decide_claims, depths),
        table=partial(table, depths),
        draw=partial(draw, depths),
        size=(8.0, 3.4),
        reading=(
            "Each line is the running training error of one run, each square its final test error. Blue is the "
            "shallow network, orange the deep one. In the paper orange ends above blue on the left and below it on "
            "the right."
        ),
        departures=departures,
    )


STUDY = study(
    "degradation",
    "Deeper plain networks train worse",
    "Does a deeper network train better?",
    CIFAR,
    (
        "Pixels are normalised by the mean and standard deviation of their channel; the paper subtracts the mean of "
        "each pixel position.",
        "The paper plots test error during training; here test images are evaluated once, at the end.",
        "Below scale paper there are fewer than 64,000 iterations; the learning rate drops at the same fractions.",
    ),
)
AT_64 = study(
    "degradation64",
    "Deeper plain networks train worse, at 64 pixels",
    "Does a deeper network train better on larger images?",
    AT_64_PIXELS,
    (
        "The paper trains 18 and 34 layers on ImageNet at 224 pixels; here any data set is used at 64 pixels, so the "
        "last feature map is 2 x 2.",
        "The recipe is the paper's for CIFAR; scale small trains for a quarter of its length.",
    ),
)
