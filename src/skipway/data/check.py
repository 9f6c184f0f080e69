"""`examine`: every image of a data set decoded once, and all that is wrong with it, odd about it, or there twice."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from skipway.data import kept, open_source
from skipway.data.findings import Examination, Finding, finding
from skipway.data.folder import LayoutError
from skipway.data.seen import Seen, Task, holds_files, look_at_all
from skipway.data.source import Source
from skipway.data.tree import surprises, undecoded
from skipway.data.verdicts import Rows, bad_images, class_findings, image_findings, twin_findings

QUIET = Console(quiet=True)


def examine(source: Source, channels: int = 3, console: Console = QUIET, reuse: bool = True) -> Examination:
    """Decode every image of `source` once, as `decode` does with `channels`, and say what was found.

    The result is kept in the user's cache and, if `reuse`, taken from there as long as names, labels and files (by size
    and time; images in memory by content) are as they were; files of a folder that no decoder is there for are looked
    up every time. `console` shows the progress where it is a terminal.
    """
    examination = examine_images(source, channels, console, reuse)
    return replace(examination, findings=(*undecoded(source), *examination.findings))


def examine_images(source: Source, channels: int, console: Console, reuse: bool) -> Examination:
    """`examine` without the files that are not images of `source`."""
    splits = source.splits
    files = (item for split in splits.values() if holds_files(split) for item in split.items)
    statuses = [kept.status_of(item) for item in files if isinstance(item, Path)]
    key = kept.key_of(source, statuses, channels)
    if reuse and (known := kept.recall(key)):
        return known
    start = time.perf_counter()
    rows = Rows(splits, source.classes)
    seen = look_at_all(Task(splits, channels, Counter(size for size, _ in statuses)), console)
    findings = (*image_findings(rows, seen), *class_findings(source), *twin_findings(rows, seen))
    examination = summed_up(source, rows, seen, findings)
    examination = replace(examination, seconds=round(time.perf_counter() - start, 2))
    kept.keep(key, examination)
    return examination


def summed_up(source: Source, rows: Rows, seen: Seen, findings: tuple[Finding, ...]) -> Examination:
    """The numbers of an examination, and its `findings`."""
    readable = np.array([i not in seen.faults for i in range(len(seen.kinds))], bool)
    shorter = seen.sides.min(1)[readable]
    sides, numbers = np.unique(shorter, return_counts=True)
    return Examination(
        name=source.name,
        images=len(seen.kinds),
        counts={
            key: dict(zip(source.classes, split.counts(len(source.classes)).tolist(), strict=True))
            for key, split in rows.splits.items()
        },
        formats=dict(Counter(kind.format for kind in seen.kinds if kind).most_common()),
        modes=dict(Counter(kind.mode for kind in seen.kinds if kind).most_common()),
        sides=dict(zip(sides.tolist(), numbers.tolist(), strict=True)),
        smallest=rows.name(int(np.flatnonzero(readable)[shorter.argmin()])) if len(shorter) else "",
        findings=findings,
        bad=tuple(bad_images(rows, seen)),
        seconds=0.0,
        examined=datetime.now().isoformat(" ", "seconds"),
    )


def open_to_examine(where: str) -> tuple[Source, tuple[Finding, ...]]:
    """`open_source(where)`, and what is to be said of a folder's layout.

    A folder that training would refuse opens too, as far as it is a data set. Raises SkipwayError for anything else
    that is none.
    """
    try:
        source = open_source(where)
        faults: Iterable[Finding] = ()
    except LayoutError as refused:
        source = refused.survey.source
        faults = [finding(fault.category, fault.name, fault.why) for fault in refused.survey.faults]
    return source, (*faults, *surprises(source))
