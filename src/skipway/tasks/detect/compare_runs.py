"""Comparison of detectors on the same images, each with the first, by a paired bootstrap over images."""

from collections.abc import Sequence

from skipway.tasks.bootstrap_comparison import BootstrapComparison, adjusted, by_class, require_comparable
from skipway.tasks.detect.bootstrap import SAMPLES, difference
from skipway.tasks.detect.evaluation import DetectEvaluation


def compare(runs: Sequence[str], evaluations: Sequence[DetectEvaluation], command: str) -> BootstrapComparison:
    """Each run after the first with the first. Raises DataError when they were not evaluated on the same images with
    the same classes."""
    require_comparable(runs, evaluations)
    first, *others = evaluations
    found = [difference(first.table, other.table) for other in others]
    classes = [by_class(first.per_class, other.per_class, "ap", "objects") for other in others]
    summaries = [f"AP {100 * one.metrics['ap']:.1f}, AP50 {100 * one.metrics['ap50']:.1f}" for one in evaluations]
    return BootstrapComparison(
        runs=tuple(runs),
        evaluations=tuple(evaluations),
        others=adjusted(runs[1:], found, classes),
        figure="AP",
        summaries=tuple(summaries),
        samples=SAMPLES,
        package="skipway.tasks.detect",
        command=command,
    )
