"""`skipway explain`: where in an image a trained network sees a class."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, JsonOption, decide, print_json
from skipway.errors import DataError, UnknownNameError


def explain(
    run: Annotated[str, typer.Argument(help="Folder of a trained network.")],
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
    from skipway.deploy.paths import images_of
    from skipway.evaluation import explain as why

    methods = {**{name: (name,) for name in why.METHODS}, "both": why.METHODS}
    if method not in methods:
        raise UnknownNameError("method", method, methods, f"one of {', '.join(methods)}")
    paths = list(images_of(images))
    explainer = why.Explainer(run, decide(device))
    if label is not None:
        explainer.place_of(label)
    unread = 0
    for path, file in zip(paths, why.new_files(paths, out or why.free_folder()), strict=True):
        try:
            found = explainer.explain(path, label, methods[method])
        except DataError as fault:
            unread += 1
            print(f"skipway: {fault}", file=sys.stderr)
            if as_json:
                print_json({"image": str(path), "error": str(fault)})
            continue
        why.save(found, file)
        if as_json:
            answer = {"class": found.label, "probability": found.probability, "predicted": found.predicted}
            print_json({"image": str(path), **answer, "file": str(file)})
        else:
            print(f"{path}: {found.label} {100 * found.probability:.2f} %, {file}")
    if unread:
        print(f"skipway: {unread} of {len(paths)} images could not be read", file=sys.stderr)
        raise typer.Exit(1)
