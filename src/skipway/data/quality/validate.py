"""`check_dataset` decodes every image once and reports errors, unusual images and duplicates."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.formats.folder import LayoutError
from skipway.data.quality import cache
from skipway.data.quality.box_rules import annotation_issues, bad_annotations, object_table
from skipway.data.quality.issues import CheckResult, Issue, issue
from skipway.data.quality.mask_rules import mask_issues, mask_table
from skipway.data.quality.rules import Rows, bad_images, class_issues, duplicate_issues, image_issues
from skipway.data.quality.scan import ScanJob, ScanResult, holds_files, scan_images
from skipway.data.quality.stray_files import surprises, undecoded

QUIET = Console(quiet=True)


def check_dataset(dataset: Dataset, channels: int = 3, console: Console = QUIET, reuse: bool = True) -> CheckResult:
    """Decode every image of `dataset` once, as `decode` does with `channels`, and return the issues found.

    The result is stored in the user's cache and, if `reuse`, taken from there as long as names, labels and files (by
    size and time; images in memory by content) are unchanged; files without an installed decoder are searched for every
    time. `console` shows the progress if it is a terminal.
    """
    result = check_images(dataset, channels, console, reuse)
    return replace(result, findings=(*undecoded(dataset), *result.findings))


def check_images(dataset: Dataset, channels: int, console: Console, reuse: bool) -> CheckResult:
    """`check_dataset` without the files that are not images of `dataset`."""
    splits = dataset.splits
    files = (item for split in splits.values() if holds_files(split) for item in split.items)
    statuses = [cache.status_of(item) for item in files if isinstance(item, Path)]
    key = cache.key_of(dataset, statuses, channels)
    if reuse and (cached := cache.load(key)):
        return cached
    start = time.perf_counter()
    rows = Rows(splits, dataset.classes)
    scan = scan_images(ScanJob(splits, channels, Counter(size for size, _ in statuses)), console)
    of_images = (*image_issues(rows, scan), *class_issues(dataset), *duplicate_issues(rows, scan))
    findings = (*annotation_issues(dataset), *mask_issues(dataset), *of_images)
    result = summarize(dataset, rows, scan, findings)
    result = replace(result, seconds=round(time.perf_counter() - start, 2))
    cache.save(key, result)
    return result


def summarize(dataset: Dataset, rows: Rows, scan: ScanResult, findings: tuple[Issue, ...]) -> CheckResult:
    """The statistics of a scan, with its `findings`."""
    readable = np.array([i not in scan.faults for i in range(len(scan.kinds))], bool)
    shorter = scan.sides.min(1)[readable]
    sides, numbers = np.unique(shorter, return_counts=True)
    return CheckResult(
        name=dataset.name,
        images=len(scan.kinds),
        counts={
            key: dict(zip(dataset.classes, split.counts(len(dataset.classes)).tolist(), strict=True))
            for key, split in rows.splits.items()
        },
        formats=dict(Counter(kind.format for kind in scan.kinds if kind).most_common()),
        modes=dict(Counter(kind.mode for kind in scan.kinds if kind).most_common()),
        sides=dict(zip(sides.tolist(), numbers.tolist(), strict=True)),
        smallest=rows.name(int(np.flatnonzero(readable)[shorter.argmin()])) if len(shorter) else "",
        findings=findings,
        bad=(*bad_annotations(dataset), *bad_images(rows, scan)),
        seconds=0.0,
        examined=datetime.now().isoformat(" ", "seconds"),
        objects=object_table(dataset),
        masks=mask_table(dataset),
    )


def open_for_check(where: str) -> tuple[Dataset, tuple[Issue, ...]]:
    """`open_dataset(where)`, and the issues of a folder's layout.

    A folder that training would refuse is opened as far as possible. Raises SkipwayError for anything else that is not
    a data set.
    """
    try:
        dataset = open_dataset(where)
        faults: Iterable[Issue] = ()
    except LayoutError as refused:
        dataset = refused.survey.dataset
        faults = [issue(fault.category, fault.name, fault.why) for fault in refused.survey.faults]
    return dataset, (*faults, *surprises(dataset))
