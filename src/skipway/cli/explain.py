"""`skipway explain`: where in an image a trained network sees a class."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, decide, exit_if_unread, print_json
from skipway.errors import DataError


def explain(
    run: Annotated[str, typer.Argument(help="Folder of a trained network, or hf:owner/name[@revision].")],
    images: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; default a new explained.")] = None,
    label: Annotated[str | None, typer.Option("--class", help="Class to look for; default the predicted one.")] = None,
    method: Annotated[str, typer.Option(help="grad-cam, occlusion or both.")] = "both",
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Show where a network sees a class, a PNG an image. Exit code 1 when some images could not be read.

    Grad-CAM weighs the last map by the gradients of the class's score, and takes one pass; occlusion covers parts of
    the image, shows how far the class's probability falls, and takes some 170.
    """
    from skipway.commands.explain import explain_each

    count = unread = 0
    for path, file, found in explain_each(run, images, label, method, out, decide(device)):
        count += 1
        if isinstance(found, DataError):
            unread += 1
            print(f"skipway: {found}", file=sys.stderr)
            if as_json:
                print_json({"image": str(path), "error": str(found)})
        elif as_json:
            answer = {"class": found.label, "probability": found.probability, "predicted": found.predicted}
            print_json({"image": str(path), **answer, "file": str(file)})
        else:
            print(f"{path}: {found.label} {100 * found.probability:.2f} %, {file}")
    exit_if_unread(unread, f" of {count}")
