"""Comparison of runs on the same images, each with the first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skipway.errors import DataError
from skipway.reporting import html
from skipway.reporting.numbers import points
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.classify.significance import Paired, paired
from skipway.tasks.comparison import LEVEL, head_json, holm, require_same_classes, require_same_images

TEST = "McNemar's exact test, two-sided"
DIGITS = 2  # of a difference in points
CLASSES = 10  # with the largest differences, shown on the page


@dataclass(frozen=True)
class PairedComparison:
    """A run compared with the first. p: adjusted by Holm for more than two runs; classes: those that differ, the most
    different first."""

    run: str
    counts: Paired
    p: float
    classes: list[dict[str, Any]]

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class ClassComparison:
    """`evaluations` are of `runs`, in their order; `others` are the runs after the first."""

    runs: tuple[str, ...]
    evaluations: tuple[ClassEvaluation, ...]
    others: tuple[PairedComparison, ...]
    command: str

    def verdict(self) -> str:
        return verdict(self)

    def to_json(self) -> dict[str, Any]:
        return comparison_json(self)

    def page(self) -> str:
        return page(self)


def compare(runs: Sequence[str], evaluations: Sequence[ClassEvaluation], command: str) -> ClassComparison:
    """Each run after the first with the first. Raises DataError when they were not evaluated on the same images."""
    first = evaluations[0]
    for run, other in zip(runs, evaluations, strict=True):
        require_same(runs[0], first, run, other)
    counts = [paired(first.correct, other.correct) for other in evaluations[1:]]
    adjusted = holm([one.p for one in counts])
    rows = zip(runs[1:], counts, adjusted, evaluations[1:], strict=True)
    others = tuple(PairedComparison(run, count, p, differing(first, other)) for run, count, p, other in rows)
    return ClassComparison(tuple(runs), tuple(evaluations), others, command)


def require_same(run: str, first: ClassEvaluation, other_run: str, other: ClassEvaluation) -> None:
    """Raises DataError unless both were evaluated on the same images with the same classes."""
    require_same_classes(run, first, other_run, other)
    if first.several != other.several:
        raise DataError(
            f"one of {run} and {other_run} predicts several labels an image, the other one class: "
            "compare runs of the same task"
        )
    require_same_images(run, first, other_run, other)


def differing(first: ClassEvaluation, other: ClassEvaluation) -> list[dict[str, Any]]:
    """The classes in which the two differ: class, n, first, second (recall, or of several labels average precision)
    and difference; the most different first."""
    key = "ap" if first.several else "recall"
    seconds = {row["class"]: row[key] for row in other.per_class}
    rows = [
        {
            "class": row["class"],
            "n": row["n"],
            "first": row[key],
            "second": seconds[row["class"]],
            "difference": seconds[row["class"]] - row[key],
        }
        for row in first.per_class
        if row["n"] and seconds[row["class"]] != row[key]
    ]
    return sorted(rows, key=lambda row: -abs(row["difference"]))


def p_value(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"


def sentence(comparison: ClassComparison, other: PairedComparison) -> str:
    """Whether `other` differs significantly from the first run, and by how much."""
    first, counts = comparison.runs[0], other.counts
    low, high = counts.interval
    measure = "images with every label correct" if comparison.evaluations[0].several else "accuracy"
    adjusted = " with Holm's correction" if len(comparison.others) > 1 else ""
    shown = f"95 % interval {points(low, DIGITS)} to {points(high, DIGITS)}; {TEST}{adjusted}, {p_value(other.p)}"
    if not other.significant:
        return (
            f"No significant difference between {other.run} and {first} on these {counts.n:,} images: "
            f"{points(counts.difference, DIGITS)} points of {measure} ({shown})."
        )
    better = "better" if counts.difference > 0 else "worse"
    size = f"{abs(100 * counts.difference):.2f}"
    return (
        f"{other.run} is {better} than {first} by {size} points of {measure}, and the difference is significant "
        f"({shown})."
    )


def verdict(comparison: ClassComparison) -> str:
    """Each run's main figure, and the results of the tests with their counts, a line each."""
    first = comparison.runs[0]
    pairs = zip(comparison.runs, comparison.evaluations, strict=True)
    lines = [f"{run}: {evaluation.summary}" for run, evaluation in pairs]
    for other in comparison.others:
        c = other.counts
        lines.append(sentence(comparison, other))
        lines.append(
            f"both correct {c.both:,}, only {first} {c.only_first:,}, only {other.run} {c.only_second:,}, "
            f"neither {c.neither:,}"
        )
    return "\n".join(lines)


def comparison_json(comparison: ClassComparison) -> dict[str, Any]:
    """The whole comparison as plain values. Differences are the run minus the first, in shares of 1."""
    return {
        **head_json(comparison.runs, comparison.evaluations, TEST, comparison.command),
        "against_first": [
            {
                "run": other.run,
                "sentence": sentence(comparison, other),
                "real": other.significant,
                **asdict(other.counts),
                "difference": other.counts.difference,
                "interval": list(other.counts.interval),
                "p_unadjusted": other.counts.p,
                "p": other.p,
                "classes": other.classes,
            }
            for other in comparison.others
        ],
    }


def page(comparison: ClassComparison) -> str:
    """The comparison as HTML."""
    first = comparison.evaluations[0]
    return html.render(
        "comparison.html",
        "skipway.tasks.classify",
        found=comparison_json(comparison),
        several=first.several,
        ranked="top5" in first.metrics,
        digits=DIGITS,
        p_value=p_value,
        most=CLASSES,
    )
