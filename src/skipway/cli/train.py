"""`skipway train`: every field of a recipe is an option of it."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import typer

from skipway.cli.check import LabelColumnOption, LabelPatternOption
from skipway.cli.options import (
    ClassNamesOption,
    DeviceOption,
    FormatOption,
    IgnoreOption,
    OfflineOption,
    PrecisionOption,
    SwitchOption,
    TaskOption,
    WorkersOption,
    decide,
    go_offline,
    print_message,
)
from skipway.errors import SkipwayError
from skipway.training.recipe_fields import FIELDS, MEANING, parse

if TYPE_CHECKING:
    from rich.console import Console

DataArgument = Annotated[
    str | None, typer.Argument(help="A folder of images (by class, VOC, COCO, YOLO), parquet, shards, digits, ...")
]
GroupTimeoutOption = Annotated[
    float | None,
    typer.Option(min=1, metavar="SECONDS", help="How long a process waits for the others; default 1800."),
]
BadOption = Annotated[str, typer.Option(help="Images or annotations that cannot be read: error, skip, quarantine.")]


def takes_recipe_fields(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` an option for every field of a recipe, handed to its parameter `fields` as given text."""
    signature = inspect.signature(verb)
    own = [p for p in signature.parameters.values() if p.name != "fields"]

    def option(name: str, kind: Any) -> inspect.Parameter:
        words = "|".join(get_args(kind)) if get_origin(kind) is Literal else getattr(kind, "__name__", "")
        info = typer.Option(f"--{name.replace('_', '-')}", metavar=f"<{words}>", help=MEANING[name])
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, info]
        )

    options = [option(name, kind) for name, kind in FIELDS.items() if name != "name"]

    def with_fields(**values: Any) -> None:
        given = {p.name: values.pop(p.name) for p in options}
        verb(**values, fields={name: text for name, text in given.items() if text is not None})

    with_fields.__name__, with_fields.__doc__ = verb.__name__, verb.__doc__
    with_fields.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    with_fields.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    return with_fields


@takes_recipe_fields
def train(
    data: DataArgument = None,
    *,
    recipe: Annotated[
        str | None, typer.Option(help="finetune, head, scratch, ..., or a JSON file; default: what suits the data.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="The most that the run may take, such as 90s, 10m, 2h.")
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Without pretrained weights.")] = False,
    offline: OfflineOption = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; default runs/<data>-<model>.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder; needs nothing else.")
    ] = None,
    label_column: LabelColumnOption = "",
    label_pattern: LabelPatternOption = "",
    box_format: FormatOption = "",
    ignore: IgnoreOption = "",
    class_names: ClassNamesOption = "",
    task: TaskOption = "",
    bad: BadOption = "error",
    devices: Annotated[int, typer.Option(help="Processes, each on a GPU or on its share of the processor.")] = 1,
    group_timeout: GroupTimeoutOption = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Equal digits for equal seeds.")] = False,
    checkpoint_steps: Annotated[int | None, typer.Option(help="A checkpoint every so many steps.")] = None,
    checkpoint_seconds: Annotated[float | None, typer.Option(help="Or every so many seconds; default 120.")] = None,
    track: Annotated[str | None, typer.Option(help="none, tensorboard, mlflow, wandb: figures there too.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every value of the recipe.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    channels_last: SwitchOption = "auto",
    compile_: Annotated[str, typer.Option("--compile", help="auto, on, off.")] = "auto",
    workers: WorkersOption = None,
    fields: dict[str, str],
) -> None:
    """Train a network that classifies images, finds objects, labels pixels or generates images, and evaluate it.

    Network, weights, size, batch and length are chosen to suit the data and the machine, unless they are given: every
    option from --model on is a field of the recipe, and is as the recipe has it unless given.

    Examples: skipway train photos/ | skipway train photos/ --budget 10m --out runs/flowers | skipway train cifar10
    --recipe he2015-cifar --seed 3 | skipway train --resume RUN | skipway train photos/ --task generate
    """
    reading = (label_column, label_pattern, box_format, ignore, class_names, task)
    start = TrainArguments(data, recipe, from_scratch, budget, *reading, out, bad)
    require_one_start(start, resume)
    go_offline(offline)
    set_group_timeout(group_timeout)
    values = {name: parse(name, text) for name, text in fields.items()}
    machine: dict[str, Any] = {"device": device, "precision": precision, "channels_last": channels_last}
    machine |= {"compile_": compile_, "workers": workers}
    kept = run_options(checkpoint_steps, checkpoint_seconds, track, deterministic, verbose)
    launch_processes(devices, out or resume)
    with exit_on_interrupt():
        resume_run(resume, machine, kept, values) if resume else start_run(start, machine, kept, values)


def run_options(
    steps: int | None, seconds: float | None, track: str | None, deterministic: bool, verbose: bool
) -> dict[str, Any]:
    """The fields of `RunOptions`; None for those that were not given."""
    checkpoints = {"checkpoint_steps": steps, "checkpoint_seconds": seconds}
    return checkpoints | {"track": track, "deterministic": deterministic or None, "verbose": verbose or None}


def set_group_timeout(seconds: float | None) -> None:
    """Have this process, and those that it starts, wait for the others for so long; None: as long as by default."""
    if seconds is not None:
        from skipway.training.lost_processes import TIMEOUT_VARIABLE

        os.environ[TIMEOUT_VARIABLE] = str(seconds)


@dataclass(frozen=True)
class TrainArguments:
    """What a new run was asked for, as it was typed; `data` None: there is none, but a run to resume."""

    data: str | None
    recipe: str | None
    from_scratch: bool
    budget: str | None
    label_column: str
    label_pattern: str
    format: str
    ignore: str
    class_names: str
    task: str
    out: Path | None
    bad: str

    def given(self) -> Iterator[str]:
        """The options that have a value of their own."""
        for field in fields_of(self):
            if field.name != "data" and getattr(self, field.name) not in (None, False, "", "error"):
                yield f"--{field.name.replace('_', '-')}"


def require_one_start(start: TrainArguments, resume: Path | None) -> None:
    """Raises SkipwayError unless there are either data to begin with or a run to resume, and nothing else for that."""
    if (start.data is None) == (resume is None):
        raise SkipwayError("give the data to train on, or --resume RUN to go on with a run, and not both")
    strange = next(start.given(), None)
    if resume and strange:
        raise SkipwayError(f"{strange} is as the run has it: leave it out with --resume")


def launch_processes(devices: int, run: Path | None) -> None:
    """Run the same command as so many processes, and exit; one is this process, which goes on.

    Raises SkipwayError for a number or a folder that will not do.
    """
    if devices == 1:
        return
    if devices < 1:
        raise SkipwayError(f"--devices must be above 0, not {devices}")
    if run is None:
        raise SkipwayError("--devices needs --out: processes that are started again find the run by its folder")
    from skipway.training.distributed import launch

    place = next(i for i, word in enumerate(sys.argv) if word == "--devices" or word.startswith("--devices="))
    taken = 2 if sys.argv[place] == "--devices" else 1
    raise typer.Exit(launch(devices, [*sys.argv[1:place], *sys.argv[place + taken :]]))


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """A run that was asked to end says how to continue, and exits with the code that tells by what."""
    from skipway.training.signals import Interrupted

    try:
        yield
    except Interrupted as stopped:
        print_message(str(stopped))
        raise typer.Exit(stopped.code) from None
    except KeyboardInterrupt:
        print_message("stopped; if its folder was made, the run continues with: skipway train --resume RUN")
        raise typer.Exit(130) from None


def run_console() -> "Console":
    """The console of a run, which does not end because nothing can be printed any more."""
    from skipway.reporting.console import LastingOutput, LiteralConsole

    if sys.stdout is None:
        return LiteralConsole(highlight=False)
    return LiteralConsole(file=cast(IO[str], LastingOutput(sys.stdout)), highlight=False)


def resume_run(run: Path, machine: dict[str, Any], kept: dict[str, Any], values: dict[str, Any]) -> None:
    """Resume the run in the folder `run`, with what was given besides."""
    from skipway.commands import train as training
    from skipway.training.run_manifest import read_manifest

    begun = read_manifest(run)
    chosen = {name: value for name, value in machine.items() if value not in ("auto", None)}
    hardware = decide(**begun.hardware | chosen)
    given = {name: value for name, value in kept.items() if value is not None}
    training.resume(run, hardware, run_console(), replace(begun.options, **given), values)


def start_run(start: TrainArguments, machine: dict[str, Any], kept: dict[str, Any], values: dict[str, Any]) -> None:
    """Train from the first step. What can be refused is, before any image is opened."""
    if start.from_scratch and (start.recipe or values.get("pretrained")):
        raise SkipwayError("--from-scratch chooses the recipe: leave out --recipe and --pretrained, or leave it out")
    from skipway.commands import train as training
    from skipway.data.quality.corrupt import policy_of
    from skipway.data.read_options import ReadOptions
    from skipway.training.loggers import tracker
    from skipway.training.run_manifest import RunOptions

    options = RunOptions(**{name: value for name, value in kept.items() if value is not None})
    tracker(options.track)
    training.train(
        str(start.data),
        start.recipe,
        start.out,
        decide(**machine),
        run_console(),
        bad=policy_of(start.bad),
        options=options,
        changes=values,
        reading=ReadOptions(
            start.label_column, start.label_pattern, start.format, start.ignore, start.class_names, start.task
        ),
        start="scratch" if start.from_scratch else "pretrained",
        budget=start.budget,
    )
