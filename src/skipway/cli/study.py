"""`skipway study`: the papers' claims as experiments. Nothing heavy is imported before a verb runs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from skipway.cli.options import DeviceOption, JsonOption, PrecisionOption, console, print_json
from skipway.errors import SkipwayError

OutOption = Annotated[Path, typer.Option(help="Folder for trainings, results and the report.")]


class ByName(TyperGroup):
    """A word that is no verb is the name of a study to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


study_app = typer.Typer(
    cls=ByName,
    help="The papers' claims as experiments: skipway study NAME.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@study_app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the studies with their questions and claims."""
    from skipway.study import STUDIES

    if as_json:
        from dataclasses import asdict

        rows = [(study.name, study.question, [*map(asdict, study.claims)]) for study in STUDIES.values()]
        print_json([dict(zip(("name", "question", "claims"), row, strict=True)) for row in rows])
        return
    width = max(map(len, STUDIES))
    for study in STUDIES.values():
        print(f"{study.name.ljust(width)}  {study.question}")


@study_app.command()
def run(
    name: Annotated[str, typer.Argument(help="A name of `skipway study list`.")],
    scale: Annotated[str, typer.Option(help="tiny: seconds, small: hours, paper: as published.")] = "small",
    seeds: Annotated[int, typer.Option(min=0, help="How many; 0: the scale's own.")] = 0,
    data: Annotated[str, typer.Option(help="What to train on, as `skipway train` takes it; empty: the scale's.")] = "",
    budget: Annotated[str, typer.Option(help="90s, 30m, 2h: cut the trainings to what fits.")] = "",
    weights: Annotated[str, typer.Option(help="Others' weights to examine as well: a name or a file.")] = "",
    note: Annotated[str, typer.Option(help="What sets the data apart, for the result.")] = "",
    jobs: Annotated[int, typer.Option(min=0, help="Trainings at a time; 0: one a core, on accelerators one.")] = 0,
    out: OutOption = Path("studies"),
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Run a study: train what is missing, measure, decide each claim. Repeat the command to continue a stopped study.

    Examples: skipway study degradation --scale tiny | skipway study degradation --data cifar10 --budget 2h
    """
    from skipway.hardware import available_cores, find_device
    from skipway.study.engine.runner import Request, run_experiment
    from skipway.study.engine.runs import Machine
    from skipway.training.signals import Interrupted

    at_once = jobs or (1 if scale == "tiny" or find_device(device).type != "cpu" else available_cores())
    request = Request(name, scale, seeds, data, budget, weights, note, out)
    try:
        run_experiment(request, Machine(device, precision, at_once), console())  # type: ignore[arg-type]
    except (KeyboardInterrupt, Interrupted) as stopped:
        print("stopped; repeat the same command to continue", file=sys.stderr)
        raise typer.Exit(getattr(stopped, "code", 130)) from None


@study_app.command()
def report(
    out: OutOption = Path("studies"),
    results: Annotated[Path | None, typer.Option(help="Folder of results; default: those in --out.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Folder of pages to write results and figures into.")] = None,
) -> None:
    """Write report.html and report.md from the results of the studies that were run."""
    from skipway.study.engine.report import fill_pages, write_report
    from skipway.study.engine.results import read_results

    found = read_results(results or out / "results")
    if out.exists() and not out.is_dir():
        raise SkipwayError(f"{out} is no folder: choose another --out")
    console().print(str(write_report(out, found)), soft_wrap=True)
    for page in fill_pages(docs, found) if docs else ():
        console().print(str(page), soft_wrap=True)
