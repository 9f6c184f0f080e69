"""Comparison of detectors on the same images, each with the first, by a paired bootstrap over images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skipway.errors import DataError
from skipway.reporting import html
from skipway.reporting.html import plain
from skipway.tasks.detect.bootstrap import SAMPLES, difference
from skipway.tasks.detect.evaluation import DetectEvaluation

SCHEMA = 1
TEST = f"paired bootstrap over images, {SAMPLES} samples, two-sided"
LEVEL = 0.05


@dataclass(frozen=True)
class PairedDifference:
    """A run compared with the first: AP of it minus that of the first, the 95 % interval and p."""

    run: str
    difference: float
    interval: tuple[float, float]
    p: float
    classes: list[dict[str, Any]]

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class DetectComparison:
    """`evaluations` are of `runs`, in their order; `others` are the runs after the first."""

    runs: tuple[str, ...]
    evaluations: tuple[DetectEvaluation, ...]
    others: tuple[PairedDifference, ...]
    command: str

    def verdict(self) -> str:
        pairs = zip(self.runs, self.evaluations, strict=True)
        lines = [f"{run}: AP {100 * one.metrics['ap']:.1f}, AP50 {100 * one.metrics['ap50']:.1f}" for run, one in pairs]
        return "\n".join([*lines, *(sentence(self.runs[0], other) for other in self.others)])

    def to_json(self) -> dict[str, Any]:
        scored = self.evaluations[0].scored
        return {
            "schema": SCHEMA,
            "data": scored.data,
            "fingerprint": scored.fingerprint,
            "split": scored.split,
            "n": len(scored.images),
            "test": TEST,
            "command": self.command,
            "runs": [
                {"run": run, "metrics": plain(one.metrics)}
                for run, one in zip(self.runs, self.evaluations, strict=True)
            ],
            "against_first": [
                {
                    "run": other.run,
                    "sentence": sentence(self.runs[0], other),
                    "significant": other.significant,
                    "difference": other.difference,
                    "interval": list(other.interval),
                    "p": other.p,
                    "classes": other.classes,
                }
                for other in self.others
            ],
        }

    def page(self) -> str:
        return html.render("comparison.html", "skipway.tasks.detect", found=self.to_json(), points=points)


def compare(runs: Sequence[str], evaluations: Sequence[DetectEvaluation], command: str) -> DetectComparison:
    """Each run after the first with the first. Raises DataError when they were not evaluated on the same images."""
    first = evaluations[0]
    others = []
    for run, other in zip(runs[1:], evaluations[1:], strict=True):
        if first.classes != other.classes:
            raise DataError(f"{runs[0]} and {run} have different classes: compare runs of the same ones")
        if list(first.names) != list(other.names) or first.scored.split != other.scored.split:
            raise DataError(
                f"{runs[0]} and {run} have different images in {first.scored.split}, because each split its own: "
                "compare them with --split test, or on data that neither was trained on"
            )
        others.append(PairedDifference(run, *difference(first.table, other.table), by_class(first, other)))
    return DetectComparison(tuple(runs), tuple(evaluations), tuple(others), command)


def by_class(first: DetectEvaluation, other: DetectEvaluation) -> list[dict[str, Any]]:
    """class, objects, first, second (average precision) and difference, the most different first."""
    rows = [
        {
            "class": one["class"],
            "objects": one["objects"],
            "first": one["ap"],
            "second": two["ap"],
            "difference": two["ap"] - one["ap"],
        }
        for one, two in zip(first.per_class, other.per_class, strict=True)
        if one["ap"] is not None
    ]
    return sorted(rows, key=lambda row: -abs(row["difference"]))


def points(share: float) -> str:
    """A difference of AP in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def sentence(first: str, other: PairedDifference) -> str:
    """Whether a run differs significantly from the first, and by how much."""
    low, high = other.interval
    sign = "≤" if other.p <= 1 / SAMPLES else "="
    shown = f"95 % interval {points(low)} to {points(high)}; {TEST}, p {sign} {other.p:.3f}"
    if not other.significant:
        by = f"{points(other.difference)} points of AP"
        return f"No significant difference between {other.run} and {first}: {by} ({shown})."
    better = "better" if other.difference > 0 else "worse"
    size = f"{abs(100 * other.difference):.1f}"
    return f"{other.run} is {better} than {first} by {size} points of AP, and the difference is significant ({shown})."
