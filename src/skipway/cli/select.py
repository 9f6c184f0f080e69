"""`skipway select`: what to label next."""

from typing import Annotated

import typer

from skipway.cli.embed import ModelArgument
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
from skipway.cli.predict import EngineOption, ImagesArgument
from skipway.cli.search import CsvOption, HtmlOption, require_new_files


def select(
    model: ModelArgument,
    images: ImagesArgument,
    count: Annotated[int, typer.Option(min=1, help="Images to select.")] = 100,
    labelled: Annotated[
        list[str] | None, typer.Option(metavar="IMAGES", help="Images with labels, to differ from; repeatable.")
    ] = None,
    as_json: JsonOption = False,
    csv: CsvOption = None,
    html: HtmlOption = None,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Select the images whose labels should teach most, from images without labels.

    A classifier's run: those that it is least certain of, and different ones among them. Another network: those that
    cover all.

    Examples: skipway select runs/photos new/ --count 50 --labelled photos/ --html next.html |
    skipway select embedded new/ --csv next.csv
    """
    from dataclasses import asdict

    from skipway.commands import select as command
    from skipway.commands.picture_page import write_rows
    from skipway.commands.summary import print_rows

    require_new_files(csv, html)
    hardware = decide(device, workers=workers)
    found = command.select(model, images, count, labelled or (), engine, hardware, print_message)
    rows = [asdict(one) for one in found.choices]
    if csv is not None:
        write_rows(csv, list(rows[0]), rows)
    if html is not None:
        command.write_selection_page(found, html)
    if as_json:
        for row in rows:
            print_json(row)
    elif csv is None:
        shown = [{**row, "margin": "" if row["margin"] is None else f"{row['margin']:.3f}"} for row in rows]
        print_rows(shown, console())
    exit_if_unread(found.unread)
