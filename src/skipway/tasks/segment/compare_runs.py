"""Comparison of segmenters on the same images, each with the first, by a paired bootstrap over images."""

from collections.abc import Sequence

from skipway.tasks.bootstrap_comparison import (
    BootstrapComparison,
    Difference,
    adjusted,
    by_class,
    paired_difference,
    require_comparable,
)
from skipway.tasks.segment.evaluation import DRAWS, SegmentEvaluation, bootstrap_weights, resampled_miou


def compare(runs: Sequence[str], evaluations: Sequence[SegmentEvaluation], command: str) -> BootstrapComparison:
    """Each run after the first with the first. Raises DataError when they were not evaluated on the same images with
    the same classes."""
    require_comparable(runs, evaluations)
    first, *others = evaluations
    classes = [by_class(first.per_class, other.per_class, "iou", "pixels") for other in others]
    summaries = [
        f"mIoU {100 * one.metrics['miou']:.1f} %, pixel accuracy {100 * one.metrics['pixel_accuracy']:.1f} %"
        for one in evaluations
    ]
    return BootstrapComparison(
        runs=tuple(runs),
        evaluations=tuple(evaluations),
        others=adjusted(runs[1:], [difference(first, other) for other in others], classes),
        figure="mIoU",
        summaries=tuple(summaries),
        samples=DRAWS,
        package="skipway.tasks.segment",
        command=command,
    )


def difference(first: SegmentEvaluation, second: SegmentEvaluation) -> Difference:
    """mIoU of the second minus that of the first, both from the same DRAWS samples of the images."""
    weights = bootstrap_weights(first.metrics["n"])
    ours, theirs = (resampled_miou(one.images.confusion, weights) for one in (first, second))
    return paired_difference(first.metrics["miou"], second.metrics["miou"], theirs - ours)
