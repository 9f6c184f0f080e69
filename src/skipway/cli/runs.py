"""`skipway runs`: the runs of a folder with their figures."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import JsonOption, console, print_json, print_message
from skipway.errors import SkipwayError
from skipway.new_files import require_new, write_new


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders that are runs or hold them; default runs.")
    ] = None,
    sort: Annotated[str, typer.Option(help="metric (the best first), date (the newest first), name.")] = "date",
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="COLUMN=PATTERN",
            help="Only runs whose name, state, task, network, recipe or data match, as network='resnet*'.",
        ),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="The settings in which the runs differ.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write them to this new page, which sorts and filters.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List trained networks and unfinished runs with their figures, and compare their recipes.

    Examples: skipway runs --sort metric | skipway runs runs/a runs/b --compare | skipway runs --html runs.html
    """
    from skipway.commands.runs import runs as find
    from skipway.commands.runs_page import page, print_differences, print_runs

    if html is not None:
        require_new(html, "--html")
    found = find(folders or [Path("runs")], sort).filtered(**patterns(filter_ or []))
    if html is not None:
        write_new(html, page(found, html, compare).encode(errors="replace"))
        print_message(f"the page is {html}")
    if as_json:
        rows = [row.to_json() for row in found]
        print_json({"runs": rows, "differences": found.differences()} if compare else rows)
    elif html is None and compare:
        print_differences(found, console())
    elif html is None:
        print_runs(found, console())


def patterns(given: list[str]) -> dict[str, str]:
    """The patterns of --filter by column. Raises SkipwayError for one without =."""
    pairs = [one.partition("=") for one in given]
    if wrong := next((one for one, (_, sign, _) in zip(given, pairs, strict=True) if not sign), None):
        raise SkipwayError(f"--filter {wrong} has no =: write for example --filter network='resnet*'")
    return {name: pattern for name, _, pattern in pairs}
