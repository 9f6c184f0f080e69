"""`skipway search`: the images most similar to one or several."""

from pathlib import Path
from typing import Annotated

import typer

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
from skipway.new_files import require_new

CsvOption = Annotated[Path | None, typer.Option(help="Write the rows to this new file.")]
HtmlOption = Annotated[Path | None, typer.Option(help="Write a page with the pictures to this new file.")]


def search(
    source: Annotated[
        str, typer.Argument(metavar="FEATURES|RUN|NAME", help="What `skipway embed` wrote as parquet, or a network.")
    ],
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Images to find others like.")],
    images: Annotated[
        list[str] | None, typer.Option("--in", metavar="IMAGES", help="With a network: what to search; repeatable.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Images to find for each query.")] = 10,
    as_json: JsonOption = False,
    csv: CsvOption = None,
    html: HtmlOption = None,
    engine: EngineOption = "eager",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Find the images most similar to others, by the cosine similarity of their embeddings. The search is exact.

    Exit code 1 when some images to search could not be read.

    Examples: skipway search new.parquet query.jpg | skipway search runs/photos query.jpg --in new/ --html found.html
    """
    from dataclasses import asdict

    from skipway.commands import search as command
    from skipway.commands.picture_page import write_rows
    from skipway.commands.summary import print_rows

    require_new_files(csv, html)
    files = command.query_files(queries)
    hardware = decide(device, workers=workers)
    index = command.open_index(source, images or (), engine, hardware, print_message)
    matches = list(index.search(files, top))
    rows = [asdict(match) for match in matches]
    if csv is not None:
        write_rows(csv, list(rows[0]), rows)
    if html is not None:
        about = f"The {top} most similar of {len(index.features):,} images, by {index.features.origin['model']}."
        command.write_search_page(matches, about, html)
    if as_json:
        for row in rows:
            print_json(row)
    elif csv is None:
        print_rows([{**row, "similarity": f"{row['similarity']:.4f}"} for row in rows], console())
    exit_if_unread(index.unread, " of the")


def require_new_files(csv: Path | None, html: Path | None) -> None:
    """Raises SkipwayError where one of the files is there already, or has no folder to be in."""
    for file, option in ((csv, "--csv"), (html, "--html")):
        if file is not None:
            require_new(file, option)
