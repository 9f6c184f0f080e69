"""`skipway average`: the mean of the weights of several runs."""

from pathlib import Path
from typing import Annotated

import typer

from skipway.cli.options import DeviceOption, WorkersOption, decide
from skipway.cli.train import run_console


def average(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs of the same network on the same data.")],
    out: Annotated[Path, typer.Option(help="Folder for the new network.")],
    on: Annotated[str | None, typer.Option(metavar="DATA", help="What they learned from, if it moved.")] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """A new network whose weights are the mean of those of several runs, evaluated (model soup, Wortsman 2022).

    It helps where the runs started from the same weights, as fine-tunings do; batch-norm statistics are measured anew.

    Examples: skipway average runs/photos runs/photos-2 runs/photos-3 --out runs/photos-average
    """
    from skipway.commands import average as command

    command.average(runs, out, on, decide(device, workers=workers), run_console())
