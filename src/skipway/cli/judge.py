"""`skipway eval`: how good a trained network is."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, WorkersOption, console, decide, print_json


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
    data: Annotated[str | None, typer.Argument(help="Images to judge it on; default what it was trained on.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test; default test, or else val.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and report.json.")] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Judge a trained network: accuracy with its interval, every class, every confusion."""
    from skipway import api

    found = api.evaluate(run, data, split, out, decide(device, workers=workers), console(stderr=as_json))
    if as_json:
        print_json({"split": found.split, "data": found.data, "metrics": found.metrics, "per_class": found.per_class})
