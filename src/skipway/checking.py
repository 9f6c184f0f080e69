"""Data looked over before anything is trained on them: `skipway check`, and the first step of every training."""

import shlex
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.console import Console

from skipway import models
from skipway.data import open_source
from skipway.data.bad import Policy, apply_policy, quarantine_of
from skipway.data.check import examine, open_to_examine
from skipway.data.decode import channels_in
from skipway.data.findings import Examination, Finding, with_side
from skipway.data.preprocess import for_photographs
from skipway.data.preview import contact_sheet
from skipway.data.reading import DEFAULT_READING, Reading
from skipway.data.source import Source, require_learnable
from skipway.data.tree import surprises
from skipway.errors import DataError
from skipway.training.prepare import side_for

QUIET = Console(quiet=True)
MOST_NAMED = 3  # faults that a training names; `skipway check` names all


def channels_of(source: Source) -> int:
    """What training would open the images with, as the first tells; 3 where it cannot be read."""
    try:
        return channels_in(source.train.items[0], source.train.names[0]) if len(source.train) else 3
    except DataError:
        return 3


def side_of(examination: Examination, size: int) -> int:
    """Pixels a side that the network sees: `size` or, if 0, what suits the images' own."""
    return size or side_for(examination.natural_side())


def opened(data: str, reading: Reading) -> tuple[Source, tuple[Finding, ...]]:
    """`data` read as `reading` says, and what is to be said of a folder's layout. Raises SkipwayError for what is no
    data set at all."""
    if reading == DEFAULT_READING:
        return open_to_examine(data)
    source = open_source(data, reading)  # no class folders, so none whose faults are findings
    return source, tuple(surprises(source))


def check(
    data: str,
    size: int = 0,
    channels: int = 0,
    bad: Policy = "error",
    console: Console = QUIET,
    reading: Reading = DEFAULT_READING,
) -> tuple[Examination, Source]:
    """Everything that is to be said of `data`, as far as it is a data set, and its images.

    `bad` "quarantine" moves the files that cannot be read; otherwise nothing is changed. Raises SkipwayError for what
    is no data set at all.
    """
    source, layout = opened(data, reading)
    examination = examine(source, channels or channels_of(source), console)
    examination = with_side(examination, side_of(examination, size))
    if bad == "quarantine" and examination.bad:
        source = apply_policy(source, examination, bad)
        console.print(f"moved {len(examination.bad):,} files to {quarantine_of(Path(source.name))}", soft_wrap=True)
    return replace(examination, findings=(*layout, *examination.findings)), source


def ready(source: Source, bad: Policy, size: int = 0, channels: int = 0, console: Console = QUIET) -> Source:
    """`source` examined, its images that cannot be read left out as `bad` says; prints what was found in short.

    size, channels: the recipe's; 0 where it leaves them open. Raises DataError for such images when `bad` is "error",
    and for data with nothing to tell apart.
    """
    require_learnable(source)
    examination = examine(source, channels or channels_of(source), console)
    examination = with_side(examination, side_of(examination, size))
    kept = apply_policy(source, examination, bad)
    console.print(examination.summary(), soft_wrap=True, markup=False)
    faults = examination.of("fault")
    for fault in faults[:MOST_NAMED]:
        console.print(f"  {fault.category}: {fault.name}: {fault.detail}", soft_wrap=True, markup=False)
    if len(faults) > MOST_NAMED or examination.of("warning"):
        command = shlex.join(["skipway", "check", source.name, *source.reading.options()])
        console.print(f"  `{command}` tells all of it", soft_wrap=True, markup=False)
    if examination.bad:
        console.print(f"left out {len(examination.bad):,} images that cannot be read (--bad {bad})")
    return kept


def preview(source: Source, examination: Examination, size: int, fit: str) -> Image.Image:
    """The contact sheet of `source` as a network of `size` pixels sees it (0: as many as suit), fitted as `fit`."""
    record = for_photographs(side_of(examination, size))
    if record.size <= models.SMALL:
        record = replace(record, resize=record.size)
    even = (0.5,) * channels_of(source)
    if len(even) != 3:
        record = replace(record, channels=len(even), mean=even, std=even)
    return contact_sheet(source, replace(record, fit=fit))  # type: ignore[arg-type]
