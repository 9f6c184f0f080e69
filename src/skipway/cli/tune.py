"""`skipway tune`: a search over fields of a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.train import exit_on_interrupt
from skipway.cli.training_options import TrainingArguments, takes_training
from skipway.errors import SkipwayError


@takes_training
def tune(
    *,
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=RANGE", help="lr=log:0.01:1, epochs=int:5:30, model=choice:A:B; can be repeated."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trainings; default 20.")] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="End bad trials early.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default runs/<data>-<model>.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the search in this folder, to --trials.")
    ] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Equal digits for equal seeds.")] = False,
    training: TrainingArguments,
) -> None:
    """Search the values of a recipe's fields that are best on val, by Optuna. A test split is not read.

    Fields that are not searched are as given, or as the recipe has them.

    Examples: skipway tune photos/ --search lr=log:0.01:1 --search epochs=int:5:30 | skipway tune --resume runs/tuned
    --trials 40
    """
    if resume is not None and (training.given or out is not None or search or not prune):
        raise SkipwayError("--resume needs nothing else but --trials: data, recipe and search are as they were")
    from skipway.commands import tune as command
    from skipway.training.run_manifest import RunOptions

    options = RunOptions(deterministic=deterministic)
    with exit_on_interrupt():
        if resume is not None:
            hardware, shown = training.arguments["hardware"], training.arguments["console"]
            command.tune(resume=resume, trials=trials, hardware=hardware, console=shown)
        else:
            place, arguments = training.require_data(), training.arguments
            command.tune(place, search or [], trials, out=out, prune=prune, options=options, **arguments)
