"""`skipway predict`: a trained network used."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, console, decide
from skipway.errors import SkipwayError


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each image.")] = 5,
    as_json: JsonOption = False,
    csv: Annotated[Path | None, typer.Option(help="Write file, class, probability to this new file.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Label images. Exit code 1 when some could not be read; the others are answered."""
    from skipway import api
    from skipway.deploy import answers
    from skipway.deploy.predictor import Predictor

    if csv is not None and csv.exists():
        raise SkipwayError(f"{csv} exists: choose another --csv")
    paths = api.expand(images)
    predictions = Predictor(run, decide(device)).predict(paths, top)
    if csv is not None:
        unread = answers.write_csv(predictions, csv)
    else:
        unread = answers.print_json_lines(predictions) if as_json else answers.print_table(predictions, console())
    if unread:
        print(f"skipway: {unread} of {len(paths)} images could not be read", file=sys.stderr)
        raise typer.Exit(1)
