"""Deeper plain nets train worse, deeper residual nets better (He 2015, secs. 1, 4.1, 4.2; Figs. 1, 4, 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from skipway.evaluation.plots import quieten
from skipway.study.bench import Bench
from skipway.study.contest import APART, COLUMNS, cells, contest, outcomes, values
from skipway.study.contract import Claim, Findings, Scale, ScaleName, Study, Table, Verdict, training
from skipway.study.verdicts import mean, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEAR = 0.5  # points from a published error that count as the same
SHALLOW, DEEP = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Depths:
    """The nets compared: layers of the shallow and the deep one, what their names end with, pixels a side (0: the
    data's own) and share of a full training by scale, and the test errors in per cent that the paper gives, by net."""

    shallow: int
    deep: int
    ending: str
    sizes: Mapping[ScaleName, int]
    shares: Mapping[ScaleName, float]
    published: Mapping[str, float]

    @property
    def nets(self) -> tuple[str, ...]:
        """The costly ones first."""
        return tuple(f"{kind}{depth}" for depth in (self.deep, self.shallow) for kind in ("plain", "resnet"))


CIFAR = Depths(20, 56, "", {}, {}, {"resnet20": 8.75, "resnet56": 6.97})
AT_64_PIXELS = Depths(18, 34, "_imagenet", {"tiny": 32, "small": 64, "paper": 64}, {"small": 1 / 4}, {})


def plan(depths: Depths, scale: Scale) -> list[Recipe]:
    """One training of each net."""
    return list(trainings(depths, scale).values())


def trainings(depths: Depths, scale: Scale) -> dict[str, Recipe]:
    """By net."""
    size, share = depths.sizes.get(scale.name, 0), depths.shares.get(scale.name, 1.0)
    return {net: replace(training(scale, f"{net}{depths.ending}", share), size=size) for net in depths.nets}


def analyse(depths: Depths, bench: Bench) -> Findings:
    """By net and seed: running training error by step, and errors at the end, in per cent."""
    return dict(outcomes(bench, trainings(depths, bench.scale)))


def judge(depths: Depths, claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    plain, residual = ([f"{kind}{depth}" for depth in (depths.shallow, depths.deep)] for kind in ("plain", "resnet"))

    def compare(claim: str, lower: str, higher: str, keys: Sequence[str]) -> Verdict:
        return contest(claims[claim], scale, findings, lower, [higher], keys)

    found = [
        compare("plain-training", plain[0], plain[1], ("running", "train")),
        compare("plain-test", plain[0], plain[1], ("test",)),
        compare("residual-training", residual[1], residual[0], ("running", "train")),
        compare("residual-test", residual[1], residual[0], ("test",)),
    ]
    return [*found, *near_published(depths, claims, scale, findings)]


def near_published(depths: Depths, claims: Mapping[str, Claim], scale: Scale, findings: Findings) -> list[Verdict]:
    """The verdict on the paper's own figures, where it gives any."""
    if not depths.published:
        return []
    measured = {model: values(findings[model], "test") for model in depths.published}
    near = all(abs(mean(measured[model]) - error) <= NEAR for model, error in depths.published.items())
    several = min(map(len, measured.values())) > 1  # the spread of a single seed nobody knows
    words = ", ".join(f"{model} {spread(measured[model], unit=' %')}" for model in depths.published)
    return [settle(claims["published"], scale, near if several else None, words)]


def table(depths: Depths, findings: Findings) -> Table:
    rows = [
        (
            model,
            *cells(findings[model]),
            f"{depths.published[model]:.2f}" if model in depths.published else "–",
        )
        for model in sorted(findings, key=lambda name: (name.rstrip("0123456789"), len(name), name))
    ]
    return Table(("net", *COLUMNS, "the paper's test error, %"), rows)


def draw(depths: Depths, findings: Findings, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    panel(left, findings, (f"plain{depths.shallow}", f"plain{depths.deep}"), "Plain")
    panel(right, findings, (f"resnet{depths.shallow}", f"resnet{depths.deep}"), "Residual")
    left.set_ylabel("error (%)")
    left.set_ylim(bottom=0)


def panel(axes: "Axes", findings: Findings, models: tuple[str, str], title: str) -> None:
    """Two nets: running training error as lines, errors at the end as marks beyond the last step."""
    for model, colour in zip(models, (SHALLOW, DEEP), strict=True):
        for i, run in enumerate(findings[model]):
            if run["curve"]:
                steps, errors = zip(*run["curve"], strict=True)
                axes.plot(steps, errors, color=colour, linewidth=1.3, label=f"{model}, training" if i == 0 else None)
        last = max((run["curve"][-1][0] for run in findings[model] if run["curve"]), default=1)
        ends = values(findings[model], "test")
        axes.plot([1.03 * last] * len(ends), ends, "s", color=colour, markersize=5, label=f"{model}, test at the end")
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
        plain = "ImageNet, top-1 error, ten crops: plain-18 27.94 %, plain-34 28.54 %; training likewise"
        residual = "ImageNet, top-1 error, ten crops: 27.88 % with 18 layers, 25.03 % with 34"
    found = (
        Claim(
            "plain-training",
            f"A plain net of {deep} layers has a higher training error than one of {shallow}: it is not overfitting.",
            where,
            plain,
            APART,
            "The deeper plain net's training error is the lower one in every seed.",
        ),
        Claim(
            "plain-test",
            "Its test error is higher too.",
            where,
            plain,
            APART,
            "The deeper plain net's test error is the lower one in every seed.",
        ),
        Claim(
            "residual-training",
            f"With shortcuts it is the other way round: {deep} layers have the lower training error.",
            where,
            residual,
            APART,
            "The deeper residual net's training error is the higher one in every seed.",
        ),
        Claim(
            "residual-test",
            "And the lower test error.",
            where,
            residual,
            APART,
            "The deeper residual net's test error is the higher one in every seed.",
        ),
    )
    if not depths.published:
        return found
    figures = Claim(
        "published",
        "Trained for 64,000 iterations, the residual nets reach the test errors of Table 6.",
        "He 2015, Table 6",
        "8.75 % with 20 layers, 6.97 % with 56",
        f"each mean is within {NEAR} points of the paper's",
        f"A mean is more than {NEAR} points from the paper's.",
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
        judge=partial(judge, depths),
        table=partial(table, depths),
        draw=partial(draw, depths),
        size=(8.0, 3.4),
        reading=(
            "Each line is the running training error of one training, each square its test error at the end. "
            "Blue is the shallow net, orange the deep one. In the paper orange ends above blue on the left and "
            "below it on the right."
        ),
        departures=departures,
    )


STUDY = study(
    "degradation",
    "Deeper plain nets train worse",
    "Does a deeper net train better?",
    CIFAR,
    (
        "Pixels lose the mean of their channel and are divided by its deviation; in the paper, of the pixel.",
        "The paper plots test error during training; here the test images are seen once, at the end.",
        "Below scale paper the 64,000 iterations are cut, and the rate falls at the same shares of them.",
    ),
)
AT_64 = study(
    "degradation64",
    "Deeper plain nets train worse, at 64 pixels",
    "Does a deeper net train better on larger images?",
    AT_64_PIXELS,
    (
        "The paper's 18 and 34 layers see ImageNet at 224 pixels; here any data at 64, so that the last map has 2.",
        "The recipe is the paper's for CIFAR; scale small trains for a quarter of its length.",
    ),
)
