"""Comparison of runs on the same images, each with the first, by a paired bootstrap over images.

Efron, Tibshirani: An Introduction to the Bootstrap. 1993, ch. 13 (percentile interval). Images are resampled, because
what is found within one image is not independent; both runs get the same samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skipway.reporting import html
from skipway.reporting.numbers import points
from skipway.tasks.comparison import (
    LEVEL,
    ClassedEvaluation,
    head_json,
    holm,
    require_same_classes,
    require_same_images,
)

CENTRAL = (0.025, 0.975)  # of the samples, the ends of the 95 % interval
FEWEST = 10  # images: samples of fewer are too much alike for a test


class Difference(NamedTuple):
    """A run's figure minus that of the first, in shares of 1: its 95 % interval, and the two-sided p value, at least
    1 / samples, that its sign is by chance of the images."""

    value: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class PairedDifference:
    """A run compared with the first. p: adjusted by Holm for more than two runs; classes: rows of class, first, second
    and difference, and what else the task counts of a class, the most different first."""

    run: str
    found: Difference
    p: float
    classes: list[dict[str, Any]]

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class BootstrapComparison:
    """`evaluations` are of `runs`, in their order; `others` are the runs after the first.

    figure: the name of what is compared; summaries: each run's main figures, as text; samples: of the images; package:
    that of the task's comparison.html.
    """

    runs: tuple[str, ...]
    evaluations: tuple[ClassedEvaluation, ...]
    others: tuple[PairedDifference, ...]
    figure: str
    summaries: tuple[str, ...]
    samples: int
    package: str
    command: str

    @property
    def tested(self) -> bool:
        """Whether there are enough images for a test."""
        return len(self.evaluations[0].scored.images) >= FEWEST

    @property
    def test(self) -> str:
        return f"paired bootstrap over images, {self.samples:,} samples, two-sided"

    def sentence(self, other: PairedDifference) -> str:
        """Whether a run differs significantly from the first, and by how much."""
        first, (difference, (low, high), p) = self.runs[0], other.found
        sign = "≤" if p <= 1 / self.samples else "="
        adjusted = " with Holm's correction" if len(self.others) > 1 else ""
        shown = f"95 % interval {points(low)} to {points(high)}; {self.test}{adjusted}, p {sign} {other.p:.3f}"
        by = f"{points(difference)} points of {self.figure}"
        if not self.tested:
            return f"{other.run} differs from {first} by {by}, on too few images for a test (at least {FEWEST})."
        if not other.significant:
            return f"No significant difference between {other.run} and {first}: {by} ({shown})."
        better = "better" if difference > 0 else "worse"
        size = f"{abs(100 * difference):.1f} points of {self.figure}"
        return f"{other.run} is {better} than {first} by {size}, and the difference is significant ({shown})."

    def verdict(self) -> str:
        lines = [f"{run}: {summary}" for run, summary in zip(self.runs, self.summaries, strict=True)]
        return "\n".join([*lines, *map(self.sentence, self.others)])

    def to_json(self) -> dict[str, Any]:
        return {
            **head_json(self.runs, self.evaluations, self.test, self.command),
            "against_first": [
                {
                    "run": other.run,
                    "sentence": self.sentence(other),
                    "significant": other.significant and self.tested,
                    "difference": other.found.value,
                    "interval": list(other.found.interval),
                    "p_unadjusted": other.found.p,
                    "p": other.p,
                    "classes": other.classes,
                }
                for other in self.others
            ],
        }

    def page(self) -> str:
        return html.render("comparison.html", self.package, found=self.to_json())


def require_comparable(runs: Sequence[str], evaluations: Sequence[ClassedEvaluation]) -> None:
    """Raises DataError unless all were evaluated on the same images with the same classes."""
    for run, other in zip(runs[1:], evaluations[1:], strict=True):
        require_same_classes(runs[0], evaluations[0], run, other)
        require_same_images(runs[0], evaluations[0], run, other)


def paired_difference(first: float, second: float, drawn: np.ndarray) -> Difference:
    """The difference of two figures; `drawn`, (samples,): the second minus the first in each sample."""
    low, high = np.quantile(drawn, CENTRAL)
    share = min((drawn <= 0).mean(), (drawn >= 0).mean())
    p = float(min(1.0, max(2 * share, 1 / len(drawn))))
    return Difference(second - first, (float(low), float(high)), p)


def adjusted(
    runs: Sequence[str], found: Sequence[Difference], classes: Sequence[list[dict[str, Any]]]
) -> tuple[PairedDifference, ...]:
    """`runs` are those after the first, with their differences, and the differences of the classes."""
    values = holm([one.p for one in found])
    return tuple(PairedDifference(*row) for row in zip(runs, found, values, classes, strict=True))


def by_class(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], key: str, size: str
) -> list[dict[str, Any]]:
    """Rows of class, `size` (what there is of it), first, second (the figure `key`) and difference, the most different
    first; classes that either lacks the figure of are left out."""
    seconds = {row["class"]: row[key] for row in second}
    rows = [
        {
            "class": row["class"],
            size: row[size],
            "first": row[key],
            "second": seconds[row["class"]],
            "difference": seconds[row["class"]] - row[key],
        }
        for row in first
        if row[key] is not None and seconds[row["class"]] is not None
    ]
    return sorted(rows, key=lambda row: -abs(row["difference"]))
