"""`skipway cross-validate`: a network for each fold, each image evaluated once."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.train import exit_on_interrupt
from skipway.cli.training_options import TrainingArguments, takes_training
from skipway.errors import SkipwayError


@takes_training
def cross_validate(
    *,
    folds: Annotated[int, typer.Option(help="Parts of the images, each evaluated by a network of its own.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default runs/<data>-<model>.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the one in this folder; needs nothing else.")
    ] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Equal digits for equal seeds.")] = False,
    training: TrainingArguments,
) -> None:
    """Train once for each fold without its images, evaluate each image once, and report all of them together.

    Each class has its share in each fold. A test split is not read.

    Examples: skipway cross-validate photos/ --folds 10 | skipway cross-validate --resume runs/photos-resnet18
    """
    if resume is not None and (training.given or out is not None):
        raise SkipwayError("--resume needs nothing else: data, recipe and folds are as they were")
    from skipway.commands import cross_validate as command
    from skipway.training.run_manifest import RunOptions

    options = RunOptions(deterministic=deterministic)
    with exit_on_interrupt():
        if resume is not None:
            hardware, shown = training.arguments["hardware"], training.arguments["console"]
            command.cross_validate(resume=resume, hardware=hardware, console=shown)
        else:
            command.cross_validate(training.require_data(), folds, out=out, options=options, **training.arguments)
