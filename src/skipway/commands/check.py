"""Check data before training: `skipway check`, and the first step of every training."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.console import Console

from skipway import models
from skipway.commands.arguments import QUIET, Folder
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, require_learnable
from skipway.data.decode import channels_in
from skipway.data.preprocess import for_photographs
from skipway.data.quality.contact_sheet import contact_sheet
from skipway.data.quality.corrupt import Policy, apply_policy, policy_of, quarantine_of
from skipway.data.quality.issues import CORRECTED, CheckResult, Issue, with_object_side, with_side
from skipway.data.quality.stray_files import surprises
from skipway.data.quality.validate import check_dataset, open_for_check
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import DataError
from skipway.reporting.palette import palette
from skipway.training.setup import side_for

PART_SIDE = 320  # pixels of an image in the preview of boxes and masks
MOST_NAMED = 3  # faults that a training names; `skipway check` names all


def channels_of(dataset: Dataset) -> int:
    """What training would open the images with, as the first tells; 3 where it cannot be read."""
    try:
        return channels_in(dataset.train.items[0], dataset.train.names[0]) if len(dataset.train) else 3
    except DataError:
        return 3


def side_of(examination: CheckResult, size: int) -> int:
    """Pixels a side that the network sees: `size` or, if 0, what suits the images' own."""
    return size or side_for(examination.natural_side())


def with_input_size(examination: CheckResult, size: int) -> CheckResult:
    """`examination` with what is too small for an input of `size` pixels (0: as many as suit): images or, in data with
    boxes, objects, of which nothing is known before a size is given."""
    if examination.objects is None:
        return with_side(examination, side_of(examination, size))
    return with_object_side(examination, size) if size > 1 else examination


def open_for_report(data: str, reading: ReadOptions) -> tuple[Dataset, tuple[Issue, ...]]:
    """`data` read as `reading` says, and what is to be said of a folder's layout. Raises SkipwayError for what is no
    data set at all."""
    if reading == DEFAULT_READ_OPTIONS:
        return open_for_check(data)
    dataset = open_dataset(data, reading)  # no class folders, so none whose faults are findings
    return dataset, tuple(surprises(dataset))


def check(
    data: Folder,
    size: int = 0,
    channels: int = 0,
    bad: Policy = "error",
    console: Console = QUIET,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
) -> CheckResult:
    """Decode every image of `data` and list what is wrong: `skipway.check("photos").findings`.

    size, channels: what the network will see; 0 for what suits the images. `bad` "quarantine" moves the files that
    cannot be read; otherwise nothing is changed. Raises SkipwayError for what is no data set at all.
    """
    return check_and_open(os.fspath(data), size, channels, policy_of(bad), console, reading)[0]


def check_and_open(
    data: str, size: int, channels: int, bad: Policy, console: Console, reading: ReadOptions
) -> tuple[CheckResult, Dataset]:
    """As `check`, with the data set, less what was moved."""
    dataset, layout = open_for_report(data, reading)
    examination = check_dataset(dataset, channels or channels_of(dataset), console)
    examination = with_input_size(examination, size)
    if bad == "quarantine" and examination.bad:
        dataset = apply_policy(dataset, examination, bad)
        console.print(f"moved {len(examination.bad):,} files to {quarantine_of(Path(dataset.name))}", soft_wrap=True)
    return replace(examination, findings=(*layout, *examination.findings)), dataset


def check_for_training(
    dataset: Dataset, bad: Policy, size: int = 0, channels: int = 0, console: Console = QUIET
) -> Dataset:
    """`dataset` examined, its images that cannot be read left out as `bad` says; prints what was found in short.

    size, channels: the recipe's; 0 where it leaves them open. Raises DataError for such images when `bad` is "error",
    and for data with nothing to tell apart.
    """
    if not dataset.bad_annotations:  # otherwise these are what is wrong with data without images or boxes
        require_learnable(dataset)
    examination = check_dataset(dataset, channels or channels_of(dataset), console)
    examination = with_input_size(examination, size)
    kept = require_learnable(apply_policy(dataset, examination, bad))
    console.print(examination.summary(), soft_wrap=True, markup=False)
    for remark in dataset.remarks:
        console.print(f"  {remark}", soft_wrap=True, markup=False)
    faults = examination.of("fault")
    for fault in faults[:MOST_NAMED]:
        console.print(f"  {fault.category}: {fault.name}: {fault.detail}", soft_wrap=True, markup=False)
    corrected = {issue.category: issue.count for issue in examination.findings if issue.category in CORRECTED}
    if corrected:
        said = ", ".join(f"{count:,} {category}" for category, count in corrected.items())
        console.print(f"  annotations corrected: {said}", soft_wrap=True, markup=False)
    if len(faults) > MOST_NAMED or examination.of("warning"):
        command = shlex.join(["skipway", "check", dataset.name, *dataset.reading.options()])
        console.print(f"  `{command}` tells all of it", soft_wrap=True, markup=False)
    if examination.bad:
        console.print(f"left out {len(examination.bad):,} images that cannot be read (--bad {bad})")
    return kept


def preview(dataset: Dataset, examination: CheckResult, size: int, fit: str) -> Image.Image:
    """The contact sheet of `dataset` as a network of `size` pixels sees it (0: as many as suit), fitted as `fit`."""
    if examination.objects is not None or examination.masks is not None:
        size, fit = size or PART_SIDE, "pad" if fit == "crop" else fit  # the network sees the entire image
    record = for_photographs(side_of(examination, size))
    if record.size <= models.SMALL:
        record = replace(record, resize=record.size)
    even = (0.5,) * channels_of(dataset)
    if len(even) != 3:
        record = replace(record, channels=len(even), mean=even, std=even)
    colours = palette(len(dataset.classes))
    return contact_sheet(dataset, replace(record, fit=fit), colours)  # type: ignore[arg-type]
