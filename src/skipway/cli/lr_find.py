"""`skipway lr-find`: which learning rate suits."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import JsonOption, console, print_json
from skipway.cli.training_options import TrainingArguments, takes_training


@takes_training
def lr_find(
    *,
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-5,
    high: Annotated[float, typer.Option(help="The last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps of training, each at a higher rate; 20 or more.")] = 100,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture: .png, .svg or .pdf.")] = None,
    as_json: JsonOption = False,
    training: TrainingArguments,
) -> None:
    """The loss over learning rates that grow from step to step, and the rates that it suggests (Smith 2017).

    Nothing of the network is kept. The rates are those of --lr.

    Examples: skipway lr-find photos/ | skipway lr-find photos/ --model resnet50 --plot rates.png
    """
    from dataclasses import asdict

    from skipway.commands.arguments import QUIET
    from skipway.commands.find_lr import find_lr

    shown = {"console": QUIET} if as_json else {}
    found = find_lr(training.require_data(), low=low, high=high, steps=steps, plot=plot, **training.arguments | shown)
    if as_json:
        print_json(asdict(found))
        return
    for line in (
        f"{len(found.rates)} steps of {found.batch} images, from {found.rates[0]:.2g} to {found.rates[-1]:.2g}",
        f"suggested: --lr {found.valley:.2g} (valley), --lr {found.steepest:.2g} (steepest); "
        f"the recipe has {found.lr:g} for {found.lr_batch} images",
    ):
        console().print(line, soft_wrap=True)
    if plot:
        console().print(f"plot {plot}", soft_wrap=True, markup=False)
