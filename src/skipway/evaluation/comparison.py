"""Runs compared on the same images, each with the first: comparison.html for people, comparison.json for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipway.bundle import headline, write_atomically
from skipway.errors import DataError
from skipway.evaluation import pages
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.mcnemar import LEVEL, Paired, holm, paired
from skipway.evaluation.pages import plain

SCHEMA = 1
TEST = "McNemar's exact test, two-sided"
CLASSES = 10  # of the greatest difference, on the page


@dataclass(frozen=True)
class Against:
    """A run beside the first. p: adjusted by Holm where there are more than two runs; classes: those that differ, the
    most different first."""

    run: str
    counts: Paired
    p: float
    classes: list[dict[str, Any]]

    @property
    def real(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Comparison:
    """`evaluations` are of `runs`, in their order; `others` are the runs after the first."""

    runs: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    others: tuple[Against, ...]
    command: str


def compare(runs: Sequence[str], evaluations: Sequence[Evaluation], command: str) -> Comparison:
    """Each run after the first with the first. Raises DataError when they were not judged on the same images."""
    first = evaluations[0]
    for run, other in zip(runs, evaluations, strict=True):
        require_same(runs[0], first, run, other)
    counts = [paired(first.right, other.right) for other in evaluations[1:]]
    adjusted = holm([one.p for one in counts])
    rows = zip(runs[1:], counts, adjusted, evaluations[1:], strict=True)
    others = tuple(Against(run, count, p, differing(first, other)) for run, count, p, other in rows)
    return Comparison(tuple(runs), tuple(evaluations), others, command)


def require_same(run: str, first: Evaluation, other_run: str, other: Evaluation) -> None:
    """Nothing. Raises DataError unless both were judged on the same images with the same classes."""
    if set(first.classes) != set(other.classes):
        lacks = ", ".join(sorted(set(first.classes) ^ set(other.classes))[:5])
        raise DataError(f"{run} and {other_run} know different classes ({lacks}): compare runs for the same ones")
    if first.several != other.several:
        raise DataError(
            f"of {run} and {other_run} one gives several labels an image, and one a class: compare runs of one kind"
        )
    if list(first.names) != list(other.names) or first.scored.split != other.scored.split:
        raise DataError(
            f"{run} and {other_run} do not share the images of {first.scored.split}, which each cut its own way: "
            "compare them with --split test, or on data that neither was trained on"
        )


def differing(first: Evaluation, other: Evaluation) -> list[dict[str, Any]]:
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


def points(share: float) -> str:
    """A difference of shares in points of per cent, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "−")


def p_value(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"


def sentence(comparison: Comparison, other: Against) -> str:
    """Whether `other` differs from the first run, by how much, and how sure that is."""
    first, counts = comparison.runs[0], other.counts
    low, high = counts.interval
    measure = "images with every label right" if comparison.evaluations[0].several else "accuracy"
    adjusted = " with Holm's correction" if len(comparison.others) > 1 else ""
    shown = f"95 % interval {points(low)} to {points(high)}; {TEST}{adjusted}, {p_value(other.p)}"
    if not other.real:
        return (
            f"No difference between {other.run} and {first} can be told from these {counts.n:,} images: "
            f"{points(counts.difference)} points of {measure} ({shown})."
        )
    better = "better" if counts.difference > 0 else "worse"
    size = f"{abs(100 * counts.difference):.2f}"
    return f"{other.run} is {better} than {first} by {size} points of {measure}, and the difference is real ({shown})."


def verdict(comparison: Comparison) -> str:
    """Each run's figure, and what the tests say with their counts, a line each."""
    first = comparison.runs[0]
    pairs = zip(comparison.runs, comparison.evaluations, strict=True)
    lines = [f"{run}: {headline(evaluation.metrics)}" for run, evaluation in pairs]
    for other in comparison.others:
        c = other.counts
        lines.append(sentence(comparison, other))
        lines.append(
            f"both right {c.both:,}, only {first} {c.only_first:,}, only {other.run} {c.only_second:,}, "
            f"neither {c.neither:,}"
        )
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Everything compared, as plain values. Differences are of the run less the first, in shares of 1."""
    scored = comparison.evaluations[0].scored
    return {
        "schema": SCHEMA,
        "data": scored.data,
        "fingerprint": scored.fingerprint,
        "split": scored.split,
        "n": len(scored.images),
        "test": TEST,
        "holm": len(comparison.others) > 1,
        "command": comparison.command,
        "runs": [
            {"run": run, "metrics": plain(evaluation.metrics)}
            for run, evaluation in zip(comparison.runs, comparison.evaluations, strict=True)
        ],
        "against_first": [
            {
                "run": other.run,
                "sentence": sentence(comparison, other),
                "real": other.real,
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


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """comparison.json and comparison.html in `folder`, which exists; returns the page's path."""
    found = comparison_json(comparison)
    write_atomically(folder / "comparison.json", (json.dumps(found, indent=1) + "\n").encode())
    page = folder / "comparison.html"
    first = comparison.evaluations[0]
    text = pages.render(
        "comparison.html",
        found=found,
        several=first.several,
        ranked="top5" in first.metrics,
        points=points,
        p_value=p_value,
        most=CLASSES,
    )
    write_atomically(page, text.encode())
    return page
