"""`skipway check`: data looked over before anything is trained on them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skipway.cli.options import JsonOption, console, print_json
from skipway.errors import SkipwayError

if TYPE_CHECKING:
    from rich.console import Console

    from skipway.data.quality.issues import CheckResult, Issue

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
    data: Annotated[str, typer.Argument(help="digits, cifar10, a folder, a table, parquet, tar shards, hf:...")],
    bad: Annotated[str, typer.Option(help="error, skip, or quarantine: moves unreadable files beside DATA.")] = "error",
    preview: Annotated[Path | None, typer.Option(help="Draw what the network will see on this new PNG.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Pixels a side; 0: the images' own if small, or 224.")] = 0,
    fit: Annotated[str, typer.Option(help="crop, pad or squash, for the preview.")] = "crop",
    channels: Annotated[int, typer.Option(min=0, help="1, 3 or more; 0: the data's own.")] = 0,
    label_column: LabelColumnOption = "",
    label_pattern: LabelPatternOption = "",
    as_json: JsonOption = False,
) -> None:
    r"""Decode every image and say what is wrong: unreadable files, leaks between splits, conflicting labels,
    duplicates, classes, sizes and kinds, each with what training does about it and how to change that.

    Exit codes: 0 nothing is wrong (warnings and notes may be there), 1 at least one fault, 2 wrong usage or no data.
    Nothing is changed unless --bad quarantine is given. What was found is kept in the cache until a file changes.

    Examples: skipway check photos/ | skipway check photos/ --preview sheet.png --fit pad |
    skipway check cifar10 --json | skipway check pets.csv --label-column breed |
    skipway check pets/ --label-pattern '(.+)_\d+\.jpg'
    """
    if fit not in FITS:
        raise SkipwayError(f"--fit '{fit}' is not one of {', '.join(FITS)}")
    from skipway.commands import check as checks
    from skipway.commands import summary
    from skipway.data.quality.corrupt import policy_of
    from skipway.data.read_options import ReadOptions

    policy = policy_of(bad)
    if preview is not None:
        summary.require_new(preview, "--preview")
        if preview.suffix.lower() != ".png":
            raise SkipwayError(f"--preview {preview} is no PNG: name it so that it ends in .png")
    reading = ReadOptions(label_column, label_pattern)
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
        summary.write_new(preview, stream.getvalue())
        print(f"the preview is {preview}", file=sys.stderr if as_json else sys.stdout)
    if examination.of("fault"):
        raise typer.Exit(1)


def print_examination(examination: "CheckResult", console: "Console") -> None:
    """What the images are, and then every finding under its category, the worst first."""
    console.print(examination.summary(), soft_wrap=True, markup=False)
    kinds = {"formats": examination.formats, "modes": examination.modes, "shorter side": sides(examination)}
    for what, held in kinds.items():
        shown = ", ".join(f"{name or 'unknown'} {count:,}" for name, count in held.items())
        console.print(f"{what}: {shown or 'none'}", soft_wrap=True, markup=False)
    print_classes(examination, console)
    from rich.markup import escape

    groups: dict[str, list[Issue]] = {}
    for severity in ("fault", "warning", "note"):
        for finding in examination.of(severity):
            groups.setdefault(finding.category, []).append(finding)
    for category, findings in groups.items():
        count = sum(one.count for one in findings)
        console.print(
            f"\n[bold]{findings[0].severity}: {category}, {count:,}[/] {escape(findings[0].action)}", soft_wrap=True
        )
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
    names = sorted(examination.counts["train"], key=lambda name: -examination.counts["train"][name])
    shown: list[str | None] = [*names]
    if len(names) > NAMED:
        shown = [*names[: NAMED // 2], None, *names[-NAMED // 2 :]]
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name in shown:
        if name is None:
            table.add_row(f"... {len(names) - len(shown) + 1:,} more", *["..."] * len(splits))
        else:
            table.add_row(escaped(name), *(f"{examination.counts[key].get(name, 0):,}" for key in splits))
    table.add_row("all", *(f"{sum(counts.values()):,}" for counts in examination.counts.values()), style="bold")
    console.print(table)


def escaped(name: str) -> str:
    """A class's name that no terminal and no markup of rich's trips over."""
    from rich.markup import escape

    from skipway.data.quality.issues import printable

    return escape(printable(name))
