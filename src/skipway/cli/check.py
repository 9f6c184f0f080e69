"""`skipway check`: data looked over before anything is trained on them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skipway.cli.options import (
    ClassNamesOption,
    FormatOption,
    IgnoreOption,
    JsonOption,
    TaskOption,
    console,
    print_json,
)
from skipway.errors import SkipwayError
from skipway.new_files import require_new, write_new

if TYPE_CHECKING:
    from rich.console import Console

    from skipway.data.quality.issues import CheckResult, Issue, MaskTable, ObjectTable

NAMED = 20  # findings of a category that the terminal names; --json has all
SIDES = (32, 64, 128, 224, 512, 1024)  # pixels, between which sizes are counted together
FITS = ("crop", "pad", "squash")

LabelColumnOption = Annotated[
    str, typer.Option(metavar="NAME", help="Column with the labels, of a table, parquet or a data set of the hub.")
]
LabelPatternOption = Annotated[
    str, typer.Option(metavar="REGEX", help="Finds the class in an image's file name: its first group.")
]


def check(
    data: Annotated[
        str, typer.Argument(help="digits, cifar10, a folder, a table, parquet, tar shards, hf:..., COCO's JSON")
    ],
    bad: Annotated[str, typer.Option(help="error, skip, or quarantine: moves unreadable files beside DATA.")] = "error",
    preview: Annotated[Path | None, typer.Option(help="Draw what the network will see on this new PNG.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Pixels a side; 0: the images' own if small, or 224.")] = 0,
    fit: Annotated[str, typer.Option(help="crop, pad, squash, for the preview; boxes and masks: no crop.")] = "crop",
    channels: Annotated[int, typer.Option(min=0, help="1, 3 or more; 0: the data's own.")] = 0,
    label_column: LabelColumnOption = "",
    label_pattern: LabelPatternOption = "",
    box_format: FormatOption = "",
    ignore: IgnoreOption = "",
    class_names: ClassNamesOption = "",
    task: TaskOption = "",
    as_json: JsonOption = False,
) -> None:
    r"""Decode every image and say what is wrong: unreadable files, leaks between splits, conflicting labels,
    duplicates, classes, sizes and kinds, wrong, tiny or duplicate boxes, and wrong masks and rare classes in them, each
    with what training does about it and how to change that.

    Exit codes: 0 nothing is wrong (warnings and notes may be there), 1 at least one fault, 2 wrong usage or no data.
    Nothing is changed unless --bad quarantine is given. What was found is kept in the cache until a file changes.

    Examples: skipway check photos/ | skipway check photos/ --preview sheet.png --fit pad |
    skipway check cifar10 --json | skipway check pets.csv --label-column breed |
    skipway check pets/ --label-pattern '(.+)_\d+\.jpg' | skipway check cells/ --size 320 --preview boxes.png |
    skipway check camvid/ --ignore 11 --class-names names.txt --preview masks.png
    """
    if fit not in FITS:
        raise SkipwayError(f"--fit '{fit}' is not one of {', '.join(FITS)}")
    from skipway.commands import check as checks
    from skipway.data.quality.corrupt import policy_of
    from skipway.data.read_options import ReadOptions

    policy = policy_of(bad)
    require_new_png(preview)
    reading = ReadOptions(label_column, label_pattern, box_format, ignore, class_names, task)
    examination, source = checks.check_and_open(data, size, channels, policy, console(stderr=True), reading)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(examination))
    else:
        print_examination(examination, console())
    if preview is not None:
        import io

        stream = io.BytesIO()
        checks.preview(source, examination, size, fit).save(stream, "PNG")
        write_new(preview, stream.getvalue())
        print(f"the preview is {preview}", file=sys.stderr if as_json else sys.stdout)
    if examination.of("fault"):
        raise typer.Exit(1)


def require_new_png(preview: Path | None) -> None:
    """Raises SkipwayError if the file of the preview exists, or has another suffix."""
    if preview is not None:
        require_new(preview, "--preview")
        if preview.suffix.lower() != ".png":
            raise SkipwayError(f"--preview {preview} is no PNG: name it so that it ends in .png")


def print_examination(examination: "CheckResult", console: "Console") -> None:
    """What the images are, and then every finding under its category, the worst first."""
    console.print(examination.summary(), soft_wrap=True, markup=False)
    kinds = {"formats": examination.formats, "modes": examination.modes, "shorter side": sides(examination)}
    for what, held in kinds.items():
        shown = ", ".join(f"{name or 'unknown'} {count:,}" for name, count in held.items())
        console.print(f"{what}: {shown or 'none'}", soft_wrap=True, markup=False)
    print_classes(examination, console)
    if examination.objects is not None:
        print_objects(examination.objects, console)
    if examination.masks is not None:
        print_masks(examination.masks, console)
    from rich.text import Text

    groups: dict[str, list[Issue]] = {}
    for severity in ("fault", "warning", "note"):
        for finding in examination.of(severity):
            groups.setdefault(finding.category, []).append(finding)
    for category, findings in groups.items():
        count = sum(one.count for one in findings)
        heading = f"\n{findings[0].severity}: {category}, {count:,}"
        console.print(Text.assemble((heading, "bold"), f" {findings[0].action}"), soft_wrap=True)
        for one in findings[:NAMED]:
            line = one.detail if one.detail.startswith(one.name) else f"{one.name}: {one.detail}"
            console.print(f"  {line}", soft_wrap=True, markup=False)
        if len(findings) > NAMED:
            console.print(f"  and {len(findings) - NAMED:,} more; --json has all")


def sides(examination: "CheckResult") -> dict[str, int]:
    """How many images have a shorter side between each of SIDES and the next."""
    held: dict[str, int] = {}
    for low, high in zip((0, *SIDES), (*SIDES, None), strict=True):
        count = sum(n for side, n in examination.sides.items() if side >= low and (high is None or side < high))
        if count:
            held[f"from {low}" if high is None else f"{low} to {high - 1}"] = count
    return held


def print_classes(examination: "CheckResult", console: "Console") -> None:
    """Images by class and split; of many classes the smallest and the largest."""
    from rich.table import Table

    splits = list(examination.counts)
    names = list(examination.counts["train"])
    shown = most_and_least(examination.counts["train"])
    table = Table(box=None, pad_edge=False)
    of_images = examination.objects is None and examination.masks is None
    table.add_column("class" if of_images else "images with")
    for split in splits:
        table.add_column(split, justify="right")
    for name in shown:
        if name is None:
            table.add_row(f"... {len(names) - len(shown) + 1:,} more", *["..."] * len(splits))
        else:
            table.add_row(escaped(name), *(f"{examination.counts[key].get(name, 0):,}" for key in splits))
    if of_images:  # otherwise an image counts for several classes
        table.add_row("all", *(f"{sum(counts.values()):,}" for counts in examination.counts.values()), style="bold")
    elif examination.objects is not None:
        table.add_row("no objects", *(f"{examination.objects.without[key]:,}" for key in splits), style="bold")
    console.print(table)


def most_and_least(counts: dict[str, int]) -> list[str | None]:
    """The names by falling count; of many the first and the last, with None between them."""
    names = sorted(counts, key=lambda name: -counts[name])
    return [*names] if len(names) <= NAMED else [*names[: NAMED // 2], None, *names[-NAMED // 2 :]]


def print_objects(objects: "ObjectTable", console: "Console") -> None:
    """Boxes by class and split, their sizes in train, and the input size that they need."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("objects")
    for heading in (*objects.counts, "small", "medium", "large", "median side"):
        table.add_column(heading, justify="right")
    for name in most_and_least(objects.counts["train"]):
        if name is not None:
            *kinds, median = objects.sizes.get(name, (0, 0, 0, 0.0))
            counts = (objects.counts[key][name] for key in objects.counts)
            table.add_row(
                escaped(name), *(f"{count:,}" for count in (*counts, *kinds)), f"{median:g} px" if median else ""
            )
    console.print(table)
    console.print(
        "small: area below 32 x 32 pixels, large: from 96 x 96 on; sizes without crowds, in train", soft_wrap=True
    )
    if objects.needed:
        console.print(
            f"input: from --size {objects.advised_side()} on, nine of ten objects cover a cell of 8 x 8 pixels, the "
            "finest that a detector has",
            soft_wrap=True,
        )


def print_masks(masks: "MaskTable", console: "Console") -> None:
    """What the values of masks mean, and the share of each class among the pixels of each split."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("pixels of")
    for split in masks.pixels:
        table.add_column(split, justify="right")
    for name in most_and_least(masks.pixels["train"]):
        if name is not None:
            table.add_row(escaped(name), *(f"{masks.share(split, name):.2%}" for split in masks.pixels))
    table.add_row("ignored", *(f"{masks.ignored_share(split):.2%}" for split in masks.pixels), style="bold")
    console.print(table)
    console.print("shares of the pixels that have a class; ignored: of all pixels", soft_wrap=True)
    for remark in masks.remarks:
        console.print(remark, soft_wrap=True, markup=False)


def escaped(name: str) -> str:
    """A class's name that no terminal and no markup of rich's trips over."""
    from rich.markup import escape

    from skipway.errors import printable

    return escape(printable(name))
