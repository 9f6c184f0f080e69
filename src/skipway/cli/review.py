"""`skipway review`: wrong labels, near duplicates and outliers."""

from typing import TYPE_CHECKING, Annotated

import typer

from skipway.cli.check import LabelColumnOption, LabelPatternOption
from skipway.cli.options import (
    DeviceOption,
    JsonOption,
    WorkersOption,
    console,
    decide,
    exit_if_unread,
    print_json,
    print_message,
)
from skipway.cli.predict import EngineOption
from skipway.cli.probe import ModelOption
from skipway.cli.search import CsvOption, HtmlOption, require_new_files

if TYPE_CHECKING:
    from rich.console import Console

    from skipway.commands.review import Review


def review(
    data: Annotated[str, typer.Argument(help="Images with or without classes: a folder, a table, parquet, hf:...")],
    model: ModelOption = "embedded",
    similarity: Annotated[float, typer.Option(min=0, max=1, help="Least cosine of near duplicates.")] = 0.9,
    top: Annotated[
        int, typer.Option(min=1, help="Findings of a kind to print; files have all, and 100 outliers.")
    ] = 20,
    label_column: LabelColumnOption = "",
    label_pattern: LabelPatternOption = "",
    as_json: JsonOption = False,
    csv: CsvOption = None,
    html: HtmlOption = None,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Rank wrong labels, near duplicates and outliers, in the features of a network.

    Labels by confident learning (Northcutt 2021). `skipway check` finds duplicates by pixels, without a network.

    Examples: skipway review photos/ --html review.html | skipway review new/ --model runs/photos --csv review.csv
    """
    from skipway.commands import review as command
    from skipway.commands.picture_page import write_rows
    from skipway.data.read_options import ReadOptions

    require_new_files(csv, html)
    reading, hardware = ReadOptions(label_column, label_pattern), decide(device, workers=workers)
    found = command.review(
        data, model, similarity, engine=engine, hardware=hardware, notify=print_message, reading=reading
    )
    rows = list(found.rows())
    if csv is not None:
        write_rows(csv, command.COLUMNS, rows)
    if html is not None:
        command.write_review_page(found, html)
    if as_json:
        for row in rows:
            print_json(row)
    elif csv is None:
        print_review(found, top, console())
    exit_if_unread(found.unread)


def print_review(found: "Review", top: int, console: "Console") -> None:
    """A table for each kind of finding, the clearest first."""
    from skipway.commands.summary import print_rows

    rows = list(found.rows())
    if found.remark:
        console.print(found.remark, soft_wrap=True, markup=False)
    columns = {
        "label error": ("image", "split", "label", "suggested", "score"),
        "near duplicate": ("group", "image", "split", "label", "score"),
        "outlier": ("image", "split", "label", "score"),
    }
    for kind, shown in columns.items():
        ours = [row for row in rows if row["finding"] == kind]
        console.print(f"{kind}s: {len(ours):,}", style="bold")
        if ours:
            print_rows(
                [{key: row[key] for key in shown} | {"score": f"{row['score']:.3f}"} for row in ours[:top]], console
            )
